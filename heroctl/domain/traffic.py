"""Who gets which share of a task's traffic: what an ingress goes by, and what people see of a deployment.

    traffic(state, job, task) -> list[Share]

of a job's present version and the older ones that run beside it, the present one first. `task` is a task's name. A
share says which version, of which content (the replicas to send to are the live ones of that content), how much
(`weight`, percent; the weights of a task's shares add up to 100), and, where a version can be asked for by a header,
by which value (`header_value`; "": by none). A task that has no replicas has no shares.

- canary: until the promotion the new version has the share of its step, once its canaries stand and while any does;
- blue-green: the old version has all of it until the promotion, then the new one;
- rainbow: each version by its number as value of the header, and the newest that was deployed without;
- rolling, and what rolls after a promotion: each version by the number of its healthy replicas.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from heroctl.domain import spec as specs
from heroctl.domain.records import Alloc, Deployment, Job
from heroctl.domain.state import State

_ALL = 100


class Share(Struct, frozen=True, gc=False):
    """What one version gets of a task's traffic."""

    version: int
    content: str
    weight: int = 0  # percent
    header_value: str = ""


def traffic(state: State, job: Job, task: str) -> list[Share]:
    """Share a task's traffic out. See above."""
    summary, spec = job.current.task(task), specs.decode(job.current.spec).task(task)
    if summary is None or spec is None or not job.wanted:
        return []
    healthy, contents = _replicas(state, job, task)
    if not contents:
        return []
    present = summary.content
    versions = {content: _version(job, task, content, present) for content in contents}
    order = sorted(contents, key=lambda content: (content != present, -versions[content]))
    stable = job.stable.task(task) if job.stable is not None else None
    deployed = stable is not None and stable.content == present
    shares = _weigh(spec, state.deployments.get(job.deployment), present, order, healthy, deployed=deployed)
    header = spec.update.strategy == "rainbow"
    return [
        Share(versions[content], content, weight, str(versions[content]) if header and not weight else "")
        for content, weight in zip(order, shares, strict=True)
    ]


def _replicas(state: State, job: Job, task: str) -> tuple[Counter[str], set[str]]:
    """Count the healthy replicas of each content, and name all contents that replicas have."""
    live = [alloc for alloc in state.allocs_of(job.uid) if alloc.task == task and alloc.live]
    healthy = Counter(alloc.content for alloc in live if _healthy(state, alloc))
    return healthy, {alloc.content for alloc in live}


def _healthy(state: State, alloc: Alloc) -> bool:
    node = state.nodes.get(alloc.node)
    return alloc.health == "healthy" and node is not None and node.up is True


def _version(job: Job, task: str, content: str, present: str) -> int:
    """Number the newest version of a content: the one that people knew it by last."""
    if content == present:
        return job.current.version
    found = (each for each in reversed(job.versions) if (it := each.task(task)) is not None and it.content == content)
    return next((each.version for each in found), 0)


def _weigh(
    task: specs.Task,
    deployment: Deployment | None,
    present: str,
    order: Sequence[str],
    healthy: Counter[str],
    *,
    deployed: bool,
) -> list[int]:
    """Weigh contents, of which there is at least one."""
    update = task.update
    if len(order) == 1:
        return [_ALL]
    if update.strategy == "rainbow":
        return _only(order, _newest_deployed(deployment, present, order))
    new = _share_of_new(update, deployment, deployed=deployed)
    if new is None and update.strategy == "blue-green" and healthy[present] >= task.count:
        new = _ALL
    if new and not healthy[present] and healthy.total():
        new = 0  # nobody of it could answer
    if new is None or order[0] != present:
        return _spread([healthy[content] for content in order], _ALL)
    return [new, *_spread([healthy[content] for content in order[1:]], _ALL - new)]


def _share_of_new(update: specs.Update, deployment: Deployment | None, *, deployed: bool) -> int | None:
    """Return the percentage that the new version is to have; None: it has what its replicas can carry."""
    if deployment is None or update.strategy == "rolling":
        return None
    if deployment.promoted:
        took_over = deployment.promoted_at is not None and (deployment.status != "failed" or deployed)
        return _ALL if update.strategy == "blue-green" and took_over else None
    if deployment.status == "successful":
        return None
    if update.strategy == "blue-green" or deployment.step_at is None or not deployment.active:
        return 0
    weights = (update.canary or specs.Canary()).weights
    return weights[min(deployment.step, len(weights) - 1)]


def _newest_deployed(deployment: Deployment | None, present: str, order: Sequence[str]) -> str:
    standing = deployment is None or deployment.status == "successful" or order[0] != present
    return order[0] if standing else order[1]


def _only(order: Sequence[str], chosen: str) -> list[int]:
    return [_ALL if content == chosen else 0 for content in order]


def _spread(replicas: Sequence[int], percent: int) -> list[int]:
    """Part a percentage in proportion, without loss: the first has what rounding leaves. No replicas: the first all."""
    total = sum(replicas)
    parts = [percent * each // total if total else 0 for each in replicas]
    return [parts[0] + percent - sum(parts), *parts[1:]]
