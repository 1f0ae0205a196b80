"""What a submit comes to, decided from what was seen so far. Pure: `waiting` does the seeing and the printing."""

from __future__ import annotations

from typing import Final, NamedTuple

from heroctl.cli.allocs import addresses
from heroctl.cli.faults import FAILED, HEALTHY, Problem, counted
from heroctl.cli.shapes import Allocation, Deployment, Job, Launch

ENDED: Final = frozenset({"complete", "failed", "lost"})
SHOWN: Final = 3  # replicas of a failure: what failed one failed the others
_ACTIVE: Final = frozenset({"pending", "running", "paused", "awaiting_promotion"})


class Wanted(NamedTuple):
    """What was submitted: this version of this job, rolled out by this deployment ("": by none), or as this launch."""

    name: str
    namespace: str
    version: int
    deployment: str
    launch: int = 0


class Seen(NamedTuple):
    """The newest that is known. `rolling`: the deployment was seen at work, so that its end is news."""

    job: Job | None = None
    allocations: tuple[Allocation, ...] | None = None
    deployment: Deployment | None = None
    gone: bool = False
    rolling: bool = False
    launches: tuple[Launch, ...] = ()

    @property
    def complete(self) -> bool:
        """Tell whether everything was looked at once."""
        return self.gone or (self.job is not None and self.allocations is not None)


class Verdict(NamedTuple):
    """How it ended: an exit code and prose; what failed, what explains it, and what to do next."""

    code: int
    message: str
    problems: tuple[Problem, ...] = ()
    hints: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()


def with_deployment(seen: Seen, deployment: Deployment) -> Seen:
    """Take in a newer view of the deployment."""
    return seen._replace(deployment=deployment, rolling=seen.rolling or deployment.status in _ACTIVE)


def decide(seen: Seen, wanted: Wanted) -> Verdict | None:
    """Say how it ended, or None while it goes on."""
    label = f"{wanted.name} version {wanted.version}"
    if seen.gone:
        told = f"{wanted.name} was deleted while its version {wanted.version} was rolled out"
        return Verdict(FAILED, told, hints=(f"see by whom: heroctl audit --job {wanted.name}",))
    if not seen.complete or seen.job is None:
        return None
    if wanted.launch:
        return _launched(seen, wanted)
    healthy = f"{label} is healthy: {_progress(seen.job)} replicas"
    if wanted.deployment:
        if seen.deployment is None:
            return None
        if seen.deployment.status == "awaiting_promotion":
            return _awaiting(seen.deployment, label)
        if seen.deployment.status in _ACTIVE:
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


def _launched(seen: Seen, wanted: Wanted) -> Verdict | None:
    """Say how a launch ended."""
    launch = next((each for each in seen.launches if each.number == wanted.launch), None)
    if launch is None or launch.status == "running":
        return None
    label = f"launch {launch.number} of {wanted.name}"
    if launch.status == "complete":
        return Verdict(HEALTHY, f"{label} is complete: {counted(launch.allocations.complete, 'replica')} ended well")
    told = f"{label} failed" if launch.status == "failed" else f"{label} was stopped"
    return _ended_badly(seen, wanted, f"{told} ({launch.reason})" if launch.reason else told)


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
        ours = alloc.launch == wanted.launch if wanted.launch else ours
        if known.get(alloc.id) != _state(alloc) and (ours if first else ours or alloc.id in known):
            lines.append(f"{alloc.task}[{alloc.slot}]  {alloc.id[:8]}  {alloc.node or '-'}  {_state(alloc)}")
    reasons = after.job.blocked if after.job else ()
    if reasons != (before.job.blocked if before.job else ()):
        lines += [f"blocked: {reason}" for reason in reasons] or ["no longer blocked"]
    lines += _steps(before.deployment, after.deployment) if after.deployment else []
    return lines


def _steps(before: Deployment | None, after: Deployment) -> list[str]:
    """Tell how a deployment moved on."""
    label = f"deployment {after.id[:8]}"
    lines = []
    if after.promoted_at is not None and before is not None and before.promoted_at is None:
        lines.append(f"{label}  promoted")
    step = before.step if before is not None else 0
    if after.weights and not after.promoted and after.step > step:
        lines.append(f"{label}  canary, step {after.step} of {after.steps}: {weight(after)} % of the traffic")
    was = before.status if before is not None else ""
    if after.status == was:
        return lines
    if after.status not in ("pending", "running"):
        because = f": {after.reason}" if after.reason and after.status not in ("successful", "paused") else ""
        lines.append(f"{label}  {after.status.replace('_', ' ')}{because}")
    elif was == "paused":
        lines.append(f"{label}  goes on")
    return lines


def weight(deployment: Deployment) -> int:
    """Give the canary's share of the traffic, in percent."""
    return deployment.weights[min(deployment.step, len(deployment.weights)) - 1] if deployment.step else 0


def summary(seen: Seen) -> str:
    """Say how far it is, in a few words."""
    if seen.job is None:
        return "waiting"
    moving = sum(_moving(alloc) for alloc in seen.allocations or ())
    told = f"{_own_progress(seen)} healthy" + (f", {moving} on the way" if moving else "")
    deployment = seen.deployment
    if deployment is None:
        return told
    if deployment.status == "paused":
        return f"{told}; paused"
    canary = deployment.weights and deployment.step and not deployment.promoted
    return f"{told}; step {deployment.step} of {deployment.steps}, {weight(deployment)} %" if canary else told


def reached(seen: Seen) -> list[tuple[str, str, str]]:
    """List where replicas can be reached: (replica, port's name, host:port); which version, where there are two."""
    there = [each for each in seen.allocations or () if each.status == "running" and each.wanted != "stop"]
    several = len({alloc.version for alloc in there}) > 1
    return [
        (f"{alloc.task}[{alloc.slot}]" + (f" version {alloc.version}" if several else ""), port, address)
        for alloc in sorted(there, key=lambda a: (a.task, a.slot, a.version))
        for port, address in addresses(alloc).items()
    ]


def ill(seen: Seen, wanted: Wanted) -> tuple[Allocation, ...]:
    """Give the replicas that made it fail, as far as they are listed."""
    mine = [each for each in seen.allocations or () if not wanted.launch or each.launch == wanted.launch]
    bad = [each for each in mine if (wanted.launch or each.version == wanted.version) and _ill(each)]
    return tuple(sorted(bad, key=lambda a: (a.task, a.slot, a.id)))


def returned(first: Verdict, after: Verdict, back: Deployment) -> Verdict:
    """Judge a failure whose way back has ended, too; `after` is how that ended."""
    if after.code == HEALTHY:
        return first._replace(message=f"{first.message}; the version before it is back, as version {back.version}")
    told = f"{first.message}; and the way back: {after.message}"
    return first._replace(message=told, problems=first.problems + after.problems, hints=after.hints)


def _awaiting(deployment: Deployment, label: str) -> Verdict:
    if deployment.weights:
        stands = f"its canaries are healthy and have {weight(deployment)} % of the traffic"
    else:
        stands = "all of it is healthy, beside the version before it"
    return Verdict(HEALTHY, f"{label} waits for you to promote it: {stands}", hints=choices(deployment))


def choices(deployment: Deployment) -> tuple[str, ...]:
    """Say what may be decided about a deployment, and how it is typed."""
    command, one = "heroctl deployment", deployment.id[:8]
    if deployment.status == "paused":
        return (f"{command} resume {one}   # go on", f"{command} fail {one}   # take it back")
    if deployment.status != "awaiting_promotion":
        return ()
    all_, back = f"{command} promote {one}   # take it all the way", f"{command} fail {one}   # take it back"
    if deployment.step < len(deployment.weights):
        share = deployment.weights[deployment.step]
        return (all_, f"{command} promote {one} --step   # as far as its next share of the traffic, {share} %", back)
    return (all_, back)


def _failure(seen: Seen, wanted: Wanted, status: str, reason: str) -> Verdict:
    label = f"{wanted.name} version {wanted.version}"
    told = {
        "failed": f"{label} failed",
        "reverted": f"{label} failed",
        "cancelled": f"{label} was cancelled",
        "superseded": f"{label} was superseded before it was healthy: another was submitted",
        "stopped": f"{wanted.name} is stopped",
    }.get(status, f"{label} ended as {status}")
    return _ended_badly(seen, wanted, f"{told} ({reason})" if reason else told)


def _ended_badly(seen: Seen, wanted: Wanted, told: str) -> Verdict:
    failed = ill(seen, wanted)
    problems = tuple(Problem(f"{a.task}[{a.slot}] on {a.node or '-'}", a.status, _told(a)) for a in failed[:SHOWN])
    hints = [f"heroctl alloc status {failed[0].id[:8]}"] if failed else []
    hints += [f"heroctl job explain {wanted.name}", f"heroctl job history {wanted.name}"]
    return Verdict(FAILED, told, problems, tuple(hints))


def _told(alloc: Allocation) -> str:
    """Say how a replica ended, and the last that it said itself."""
    return "\n".join([_state(alloc), *alloc.message.splitlines()])


def _state(alloc: Allocation) -> str:
    words = alloc.status
    if alloc.status == "running":
        words += {"healthy": ", healthy", "unhealthy": ", unhealthy"}.get(alloc.health, ", not yet healthy")
    if alloc.status in ("starting", "running"):
        # This attempt is not over: a reason is that of the one before, or says again that it is unhealthy.
        ends = [f"again after: {alloc.reason}"] if alloc.reason and alloc.reason != alloc.health else []
    else:
        words += f": {alloc.reason}" if alloc.reason and alloc.status != "complete" else ""
        ends = [f"exit code {alloc.exit_code}"] if alloc.exit_code is not None and alloc.status in ENDED else []
    ends += ["out of memory"] if alloc.oom else []
    ends += [f"attempt {alloc.attempt}"] if alloc.attempt > 1 else []
    return words + (f" ({', '.join(ends)})" if ends else "")


def _moving(alloc: Allocation) -> bool:
    if alloc.status == "running":
        return alloc.health != "healthy" and alloc.wanted != "stop"
    return alloc.status in ("pending", "starting", "stopping")


def _ill(alloc: Allocation) -> bool:
    return alloc.status in ("failed", "lost") or alloc.health == "unhealthy"


def _all_healthy(job: Job) -> bool:
    return all(task.healthy >= task.desired for task in job.tasks)


def _progress(job: Job) -> str:
    """Say how many of all replicas are healthy; those of older versions beside them are not counted twice."""
    return f"{sum(min(t.healthy, t.desired) for t in job.tasks)}/{sum(t.desired for t in job.tasks)}"


def _own_progress(seen: Seen) -> str:
    """Say the same of the version that is rolled out, if one is."""
    tasks = seen.deployment.tasks.values() if seen.deployment else ()
    if not tasks:
        return _progress(seen.job) if seen.job else ""
    return f"{sum(min(t.healthy, t.desired) for t in tasks)}/{sum(t.desired for t in tasks)}"
