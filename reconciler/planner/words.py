"""How replicas, amounts and spans of time are told of."""

from __future__ import annotations

from typing import Final, Literal

from heroctl.domain import spec as specs
from heroctl.domain.duration import Duration
from heroctl.domain.records import Alloc
from reconciler.planner.slots import cause

WAITING: Final = "waiting_for_secrets"  # an agent's word: nothing has ended
_WROTE: Final = 160  # characters of a line that a workload wrote
Life = Literal["healthy", "starting", "unhealthy", "restarting"]


def amount(number: int, thing: str) -> str:
    """Write a number of things: `1 node`, `2 nodes`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def span(ms: int) -> str:
    """Write a length of time in whole seconds."""
    return str(Duration(max(round(ms / 1000), 0) * 1000))


def life(task: specs.Task, alloc: Alloc, where: str, now: int) -> tuple[Life, str, int | None]:
    """Tell how a replica is, and when (ms) its agent tries again, if it is to."""
    match alloc.phase:
        case "pending":
            return "starting", f"placed {where} {span(now - alloc.created_at)} ago: its agent has not begun", None
        case "starting":
            return "starting", f"starting {where}{_starting(alloc)}", None
        case "ended":
            return _restarting(task, alloc, where, now)
        case "running":
            return _running(task, alloc, where, now)
        case _:
            return "starting", f"{alloc.status} {where}", None


def _starting(alloc: Alloc) -> str:
    if alloc.reason == WAITING:
        return f": it waits for what its secrets hold: {alloc.message}"
    return f"{_after(alloc)}: its image is pulled and its container made"


def _running(task: specs.Task, alloc: Alloc, where: str, now: int) -> tuple[Life, str, int | None]:
    said = f": {alloc.message}" if alloc.message else ""
    if alloc.health == "healthy":
        since = f" for {span(now - alloc.healthy_since)}" if alloc.healthy_since is not None else ""
        return "healthy", f"healthy {where}{since}{_after(alloc)}", None
    if alloc.health == "unhealthy":
        return "unhealthy", f"running {where}, and failing its {_check(task)} check{said or _reason(alloc)}", None
    return "starting", f"running {where}, and no {_check(task)} check has passed yet{said}", None


def _check(task: specs.Task) -> str:
    health = task.health
    if health is None:
        return "health"
    return "http" if health.http is not None else "tcp" if health.tcp is not None else "command"


def _restarting(task: specs.Task, alloc: Alloc, where: str, now: int) -> tuple[Life, str, int | None]:
    """The agent's delay has a jitter of its own: what is told is when it begins at the earliest."""
    policy = task.restart
    crashed = alloc.timeline[-1][1] if alloc.timeline else now
    at = crashed + policy.delay.ms
    when = f"in {span(at - now)}" if at > now else "any moment"
    if policy.mode == "delay" and alloc.restarts >= policy.attempts:
        when, at = f"once fewer than {policy.attempts} restarts lie within {policy.interval}", 0
    return "restarting", f"attempt {alloc.attempt} {ended(alloc)} {where}; it starts again {when}", at or None


def _after(alloc: Alloc) -> str:
    return f" (attempt {alloc.attempt}, after it {ended(alloc)})" if alloc.attempt > 1 and alloc.reason else ""


def ended(alloc: Alloc) -> str:
    """Say how a replica, or its last attempt, ended."""
    if alloc.given_up:
        return "was lost"
    if alloc.why == "preempted":
        return f"made way for {_by(alloc)}"
    if alloc.finished_at is not None and cause(alloc) != "failed":
        return "was stopped"
    killed = ", for want of memory" if alloc.oom else ""
    code = f" with exit code {alloc.exit_code}" if alloc.exit_code is not None else ""
    return f"failed{code}{killed}{_reason(alloc)}"


def _by(alloc: Alloc) -> str:
    """Say for whom one made way, where that is of its own namespace."""
    said = next((message for _, _, event, message in reversed(alloc.timeline) if event == "alloc.stopping"), "")
    _, by, job = said.partition(" by ")
    return job.rpartition("/")[2] + ", which has a higher priority" if by else "a job of higher priority"


def _reason(alloc: Alloc) -> str:
    """Give the line that says what happened, and the last of those after it, which the workload wrote.

    Not the same code twice, nor more than fits into a sentence.
    """
    what, *wrote = alloc.message.splitlines() or [alloc.reason]
    said = [] if what == f"exited with code {alloc.exit_code}" else [what]
    said += [line.strip()[:_WROTE] for line in wrote if line.strip()][-1:]
    return f" ({': '.join(said)})" if any(said) else ""
