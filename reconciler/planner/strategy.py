"""How the versions of a task follow one another: what its strategy says of a slot, and which old ones may stay.

A slot that has, or had, an old replica is in one of three stages; everything else is one code for all strategies:

- `keep`     the old one stays, and nothing new comes;
- `beside`   a fresh one stands beside the old, and both stay;
- `replace`  a fresh one follows the old, within what the update may disturb.

Versions that stand abreast of the present one (rainbow) are apart from that: nothing follows them while they may stay.
"""

from __future__ import annotations

from typing import Literal

from heroctl.domain import spec as specs
from heroctl.domain.records import Deployment, Job

Stage = Literal["keep", "beside", "replace"]


def stage(
    update: specs.Update, deployment: Deployment | None, slot: int, now: int, *, old: bool, deployed: bool = False
) -> Stage:
    """Say what becomes of a slot. `old`: whether the task has a set of old replicas to be compared with.

    `deployed`: whether what it is made from was deployed by then.
    """
    if deployment is None:
        return "replace"
    if deployment.status == "paused":
        return "keep"
    if not on_trial(update, deployment):
        return "beside" if now < kept_until(update, deployment, deployed=deployed) else "replace"
    if not old:
        return "replace"
    if deployment.status == "failed":
        return "keep"
    return "beside" if update.strategy != "canary" or slot < canary(update).count else "keep"


def on_trial(update: specs.Update, deployment: Deployment) -> bool:
    """Tell whether the new version has yet to be found good before it may follow the old one everywhere."""
    if deployment.promoted or deployment.status == "successful":
        return False
    return update.strategy in {"canary", "blue-green"} or (
        update.strategy == "rainbow" and deployment.status == "failed"
    )


def kept_until(update: specs.Update, deployment: Deployment, *, deployed: bool) -> int:
    """Return until when (ms) the old set stands by, after the new one took its place."""
    if update.strategy != "blue-green" or deployment.promoted_at is None:
        return 0
    if deployment.status == "failed" and not deployed:
        return 0
    return deployment.promoted_at + (update.blue_green or specs.BlueGreen()).keep_old.ms


def canary(update: specs.Update) -> specs.Canary:
    """Give the settings of the strategy canary."""
    return update.canary or specs.Canary()


def auto_promote(update: specs.Update) -> bool:
    """Tell whether a version that stands its trial goes on without anybody's word."""
    if update.strategy == "canary":
        return canary(update).auto_promote
    return (update.blue_green or specs.BlueGreen()).auto_promote


def abreast(job: Job, task: specs.Task, content: str, deployment: Deployment | None) -> frozenset[str]:
    """Name the contents of older versions that stand abreast of the present one: only of such as were deployed.

    Until a deployment is successful, what stood abreast before it does so still, and a rainbow's version comes beside
    all of them; then as many stay as the present version keeps.
    """
    if deployment is None or deployment.status == "successful":
        return frozenset(_deployed(job, task.name, content, 0, _keep(task)))
    before = job.stable.task(task.name) if job.stable is not None else None
    stood = specs.decode(job.stable.spec).task(task.name) if job.stable is not None else None
    if before is None or stood is None:
        return frozenset()
    if before.content == content:
        return frozenset(_deployed(job, task.name, content, 0, _keep(stood)))
    follows = task.update.strategy != "rainbow" or deployment.status == "failed"
    return frozenset(_deployed(job, task.name, content, 1 if follows else 0, _keep(stood) + 1))


def _keep(task: specs.Task) -> int:
    return (task.update.rainbow or specs.Rainbow()).keep if task.update.strategy == "rainbow" else 0


def _deployed(job: Job, task: str, present: str, first: int, end: int) -> list[str]:
    """List the contents of a task's deployed versions other than the present one's, newest first."""
    found: dict[str, None] = {}
    for version in reversed(job.versions) if end > first else ():
        summary = version.task(task) if version.stable else None
        if summary is not None and summary.content != present:
            found[summary.content] = None
    return list(found)[first:end]


def rank(job: Job, task: str, content: str) -> int:
    """Order old contents: the newest that was deployed first, those that never were last."""
    for version in reversed(job.versions):
        summary = version.task(task) if version.stable else None
        if summary is not None and summary.content == content:
            return -version.version
    return 0
