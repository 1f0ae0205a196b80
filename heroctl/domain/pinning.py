"""What a version of a job is made with: which version of each secret, and the digests that follow from it.

Chosen when a version is submitted, and anew, by the coordinator, when a secret has changed since. A version that is
repeated (by a rollback, a scale, the way back) keeps what it was made with: to take what is newer is a version more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from heroctl.domain import references
from heroctl.domain import spec as specs
from heroctl.domain.errors import Problem
from heroctl.domain.events import TaskSummary
from heroctl.domain.records import Job
from heroctl.domain.references import content_secrets, pull_secret
from heroctl.domain.state import State

Pins = tuple[tuple[str, int], ...]
NEVER: Final = "none"  # of `on_secret_change`


# ── at submit ────────────────────────────────────────────────────────────────────────────────────────────────────────


def summarise(state: State, job: Job | None, namespace: str, task: specs.Task, image: str) -> TaskSummary:
    """Sum up a task that is submitted, made with the present versions of its secrets.

    One that goes on with what it has when a secret changes does so, too, while nothing else about it changes.
    """
    return _summary(job, task, image, _pins(state, job, namespace, task, image))


def renewed(state: State, job: Job) -> tuple[TaskSummary, ...]:
    """Sum a job's tasks up as they are, but for their secrets, of which each has its present version."""
    spec = specs.decode(job.current.spec)
    return tuple(
        _repinned(job, spec, summary, _newest(state, job.namespace, tuple(name for name, _ in summary.pins)))
        for summary in job.current.tasks
    )


def _pins(state: State, job: Job | None, namespace: str, task: specs.Task, image: str) -> Pins:
    pins = _newest(state, namespace, content_secrets(task))
    if not pins or job is None or not job.wanted or task.on_secret_change != NEVER:
        return pins
    before, summary = specs.decode(job.current.spec).task(task.name), job.current.task(task.name)
    if before is None or summary is None or specs.content(before) != specs.content(task):
        return pins
    if image not in ("", summary.image):
        return pins
    held = {pin[0]: pin[1] for pin in summary.pins if _is_kept(state, namespace, *pin)}
    return tuple((name, held.get(name, number)) for name, number in pins)


def _newest(state: State, namespace: str, names: tuple[str, ...]) -> Pins:
    found = ((name, state.secrets.get((namespace, name))) for name in names)
    return tuple((name, secret.current.version if secret is not None else 0) for name, secret in found)


def _summary(job: Job | None, task: specs.Task, image: str, pins: Pins) -> TaskSummary:
    """Sum a task up. What a kept version has already has its digests, whichever release made them.

    Of an image that could not be looked up it has what it had last.
    """
    content = policy = ""
    for version in reversed(job.versions) if job is not None else ():
        known, before = version.task(task.name), specs.decode(version.spec).task(task.name)
        if known is None or before is None:
            continue
        if not content and image in ("", known.image) and specs.content(before) == specs.content(task):
            image = known.image
            content = known.content if known.pins == pins else ""
        if not policy and specs.policy(before) == specs.policy(task):
            policy = known.policy
        if content and policy:
            break
    return TaskSummary(
        task.name,
        task.count,
        content or specs.content_digest(task, image, pins),
        policy or specs.policy_digest(task),
        image,
        pins,
        pull_secret(task),
    )


# ── when a secret changes ────────────────────────────────────────────────────────────────────────────────────────────


def repinned(state: State, job: Job) -> tuple[TaskSummary, ...]:
    """Sum a job's tasks up with the secrets that it is to take; none: it goes on with what it has.

    It takes one that it had to do without, as soon as there is one; and one that has changed since its version came, as
    `on_secret_change` says.
    """
    if not any(_could_move(state, job, task) for task in job.current.tasks):
        return ()
    spec = specs.decode(job.current.spec)
    tasks = tuple(_repinned(job, spec, task, tuple(_moved(state, job, spec, task))) for task in job.current.tasks)
    return () if tasks == job.current.tasks else tasks


def _could_move(state: State, job: Job, task: TaskSummary) -> bool:
    """Rule out most without reading their specs."""
    for name, number in task.pins:
        secret = state.secrets.get((job.namespace, name))
        if secret is not None and secret.current.version != number:
            return True
    return False


def _moved(state: State, job: Job, spec: specs.Job, summary: TaskSummary) -> Iterator[tuple[str, int]]:
    task = spec.task(summary.name)
    goes_on = task is not None and task.on_secret_change == NEVER
    for name, number in summary.pins:
        secret = state.secrets.get((job.namespace, name))
        if secret is None:
            yield name, number
            continue
        follows = not goes_on and secret.current.index > job.current.pinned
        yield name, secret.current.version if follows or number == 0 else number


def _repinned(job: Job, spec: specs.Job, summary: TaskSummary, pins: Pins) -> TaskSummary:
    task = spec.task(summary.name)
    if pins == summary.pins or task is None:
        return summary
    return replace(summary, content=_summary(job, task, summary.image, pins).content, pins=pins)


# ── what is lacking ──────────────────────────────────────────────────────────────────────────────────────────────────


def _is_kept(state: State, namespace: str, name: str, number: int) -> bool:
    secret = state.secrets.get((namespace, name))
    return secret is not None and secret.version(number) is not None


def lacking(state: State, namespace: str, task: TaskSummary) -> list[str]:
    """Say what of its secrets a task of a version cannot be given."""
    if not (task.pins or task.pull):
        return []
    pins = (pin for pin in task.pins if not _is_kept(state, namespace, *pin))
    found = [_said(state, namespace, name, number) for name, number in pins]
    if task.pull and (namespace, task.pull) not in state.secrets:
        found.append(_said(state, namespace, task.pull, 0))
    return found


def gone(state: State, namespace: str, tasks: tuple[TaskSummary, ...]) -> list[tuple[str, int]]:
    """Name the versions of secrets that tasks were made with and that are no more, each once."""
    pins = dict.fromkeys(pin for task in tasks for pin in task.pins)
    return [(name, number) for name, number in pins if number and not _is_kept(state, namespace, name, number)]


def _said(state: State, namespace: str, name: str, number: int) -> str:
    secret = state.secrets.get((namespace, name))
    if not number:
        return f"secret {name} does not exist" if secret is None else f"secret {name} came after this version"
    if secret is None:
        return f"secret {name} was deleted"
    return f"version {number} of secret {name} was deleted: a restart of the job takes version {secret.current.version}"


def missing(state: State, spec: specs.Job) -> list[Problem]:
    """Warn of secrets that a spec names and that are not there, each at the first field that names it."""
    found = []
    for number, task in enumerate(spec.tasks):
        paths: dict[str, str] = {}
        for path, reference in references.references(task):
            if reference.kind == references.SECRET:
                paths.setdefault(reference.name, path)
        for name, path in paths.items():
            if (spec.namespace, name) not in state.secrets:
                said = f"secret '{name}' does not exist in namespace '{spec.namespace}': the task waits until it does"
                found.append(Problem(f"tasks[{number}].{path}", "secret_missing", said))
    return found
