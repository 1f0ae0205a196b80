"""What a submit comes to, decided from what was seen so far. Pure: `waiting` does the seeing and the printing."""

from __future__ import annotations

from typing import Final, NamedTuple

from heroctl.cli.allocs import addresses
from heroctl.cli.faults import FAILED, HEALTHY, Problem
from heroctl.cli.shapes import Allocation, Deployment, Job

ENDED: Final = frozenset({"complete", "failed", "lost"})
_ACTIVE: Final = frozenset({"pending", "running", "paused", "awaiting_promotion"})


class Wanted(NamedTuple):
    """What was submitted: this version of this job, rolled out by this deployment ("": by none)."""

    name: str
    namespace: str
    version: int
    deployment: str


class Seen(NamedTuple):
    """The newest that is known. `rolling`: the deployment was seen at work, so that its end is news."""

    job: Job | None = None
    allocations: tuple[Allocation, ...] | None = None
    deployment: Deployment | None = None
    gone: bool = False
    rolling: bool = False

    @property
    def complete(self) -> bool:
        """Tell whether everything was looked at once."""
        return self.gone or (self.job is not None and self.allocations is not None)


class Verdict(NamedTuple):
    """How it ended: an exit code and prose; for a failure what failed and what to do next."""

    code: int
    message: str
    problems: tuple[Problem, ...] = ()
    hints: tuple[str, ...] = ()


def with_deployment(seen: Seen, deployment: Deployment) -> Seen:
    """Take in a newer view of the deployment."""
    return seen._replace(deployment=deployment, rolling=seen.rolling or deployment.status in _ACTIVE)


def decide(seen: Seen, wanted: Wanted) -> Verdict | None:
    """Say how it ended, or None while it goes on."""
    label = f"{wanted.name} version {wanted.version}"
    if seen.gone:
        return Verdict(FAILED, f"{wanted.name} was deleted while its version {wanted.version} was rolled out")
    if not seen.complete or seen.job is None:
        return None
    healthy = f"{label} is healthy: {_progress(seen.job)} replicas"
    if wanted.deployment:
        if seen.deployment is None or seen.deployment.status in _ACTIVE:
            return None
        if seen.deployment.status == "successful":
            return Verdict(HEALTHY, healthy) if seen.rolling or _all_healthy(seen.job) else None
        return _failure(seen, wanted, seen.deployment.status, seen.deployment.reason or "")
    if seen.job.version > wanted.version:
        return _failure(seen, wanted, "superseded", "")
    if seen.job.status in ("failed", "stopped"):
        return _failure(seen, wanted, seen.job.status, "")
    if seen.job.status == "complete" or (seen.job.status == "running" and _all_healthy(seen.job)):
        return Verdict(HEALTHY, healthy)
    return None


def blocked(seen: Seen) -> tuple[str, ...]:
    """Say why nothing moves: the job's reasons, unless a replica is still on its way."""
    if seen.job is None or any(_moving(alloc) for alloc in seen.allocations or ()):
        return ()
    return seen.job.blocked


def news(before: Seen, after: Seen, wanted: Wanted) -> list[str]:
    """Tell what changed, a line a thing, in the order of tasks and slots."""
    first = before.allocations is None
    known = {alloc.id: _state(alloc) for alloc in before.allocations or ()}
    lines = []
    for alloc in sorted(after.allocations or (), key=lambda a: (a.task, a.slot, a.version, a.id)):
        ours = alloc.version == wanted.version or alloc.deployment == wanted.deployment
        if known.get(alloc.id) != _state(alloc) and (ours if first else ours or alloc.id in known):
            lines.append(f"{alloc.task}[{alloc.slot}]  {alloc.id[:8]}  {alloc.node or '-'}  {_state(alloc)}")
    reasons = after.job.blocked if after.job else ()
    if reasons != (before.job.blocked if before.job else ()):
        lines += [f"blocked: {reason}" for reason in reasons] or ["no longer blocked"]
    was = before.deployment.status if before.deployment else ""
    if after.deployment and after.deployment.status != was and after.deployment.status not in ("pending", "running"):
        lines.append(f"deployment {after.deployment.id[:8]}  {after.deployment.status.replace('_', ' ')}")
    return lines


def summary(seen: Seen) -> str:
    """Say how far it is, in a few words."""
    if seen.job is None:
        return "waiting"
    moving = sum(_moving(alloc) for alloc in seen.allocations or ())
    return f"{_progress(seen.job)} healthy" + (f", {moving} on the way" if moving else "")


def reached(seen: Seen) -> list[tuple[str, str, str]]:
    """List where healthy replicas can be reached: (replica, port's name, host:port)."""
    return [
        (f"{alloc.task}[{alloc.slot}]", port, address)
        for alloc in sorted(seen.allocations or (), key=lambda a: (a.task, a.slot))
        if alloc.status == "running" and alloc.wanted != "stop"
        for port, address in addresses(alloc).items()
    ]


def _failure(seen: Seen, wanted: Wanted, status: str, reason: str) -> Verdict:
    label = f"{wanted.name} version {wanted.version}"
    previous = seen.deployment.previous_version if seen.deployment else None
    kept = f"version {previous} keeps running" if previous else "there was no version before it"
    told = {
        "failed": f"{label} failed",
        "reverted": f"{label} failed, and version {previous} was restored",
        "cancelled": f"{label} was cancelled",
        "superseded": f"{label} was superseded: a newer version was submitted before it was healthy",
        "stopped": f"{wanted.name} is stopped",
    }.get(status, f"{label} ended as {status}")
    if status == "failed":
        told += f"; {kept}"
    failed = [alloc for alloc in seen.allocations or () if alloc.version == wanted.version and _ill(alloc)]
    hints = [f"heroctl job status {wanted.name}"]
    if failed:
        hints.insert(0, f"heroctl alloc status {failed[0].id[:8]}")
    problems = tuple(Problem(f"{a.task}[{a.slot}] on {a.node or '-'}", a.status, _state(a)) for a in failed[:5])
    return Verdict(FAILED, f"{told}{f': {reason}' if reason else ''}", problems, tuple(hints))


def _state(alloc: Allocation) -> str:
    words = alloc.status
    if alloc.status == "running":
        words += {"healthy": ", healthy", "unhealthy": ", unhealthy"}.get(alloc.health, ", not yet healthy")
    told = alloc.reason if alloc.status != "complete" else None
    ends = [f"exit code {alloc.exit_code}"] if alloc.exit_code is not None and alloc.status in ENDED else []
    ends += ["out of memory"] if alloc.oom else []
    ends += [f"attempt {alloc.attempt}"] if alloc.attempt > 1 else []
    return words + (f": {told}" if told else "") + (f" ({', '.join(ends)})" if ends else "")


def _moving(alloc: Allocation) -> bool:
    if alloc.status == "running":
        return alloc.health != "healthy" and alloc.wanted != "stop"
    return alloc.status in ("pending", "starting", "stopping")


def _ill(alloc: Allocation) -> bool:
    return alloc.status in ("failed", "lost") or alloc.health == "unhealthy"


def _all_healthy(job: Job) -> bool:
    return all(task.healthy >= task.desired for task in job.tasks)


def _progress(job: Job) -> str:
    return f"{sum(task.healthy for task in job.tasks)}/{sum(task.desired for task in job.tasks)}"
