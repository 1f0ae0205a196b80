"""How a batch job's launches stand, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from heroctl.domain import spec as specs
from heroctl.domain.lifecycle import LaunchKind
from heroctl.domain.records import Launch
from reconciler.planner.batch import Run
from reconciler.planner.draft import Draft
from reconciler.planner.words import amount, span

_HOW: Final[dict[LaunchKind, str]] = {
    "submit": "begun with its submit",
    "restart": "begun by a restart",
    "schedule": "begun by the clock",
    "force": "begun by hand",
    "dispatch": "dispatched",
}


def launches_told(draft: Draft, now: int) -> str:
    """Say how the launch stands that there is most to say of, and what launches the job next."""
    return "; ".join((*_present(draft, now), *_next(draft, now)))


def _present(draft: Draft, now: int) -> Iterator[str]:
    job = draft.job
    if draft.told is not None:
        yield _going(draft.told, now)
        others = len(draft.runs) - 1
        if others:
            yield f"{others} other {'launches go' if others > 1 else 'launch goes'} on beside it"
        return
    newest = next(reversed(draft.scene.state.launches.get(job.uid, ())), None)
    yield _over(newest, now) if newest is not None else "it was not launched yet"


def _going(run: Run, now: int) -> str:
    launch = run.launch
    places = list(run.places)
    done = sum(run.done(task.name, slot) for task, slot in places)
    began = span(now - launch.created_at)
    said = f"launch {launch.number} of version {launch.version}, {_HOW[launch.kind]} {began} ago: "
    said += f"{done} of {amount(len(places), 'replica')} ended well"
    if launch.skipped:
        said += f", and {amount(launch.skipped, 'scheduled time')} left out while it goes on"
    return said


def _over(launch: Launch, now: int) -> str:
    since = f" {span(now - launch.finished_at)} ago" if launch.finished_at is not None else ""
    why = f": {launch.reason}" if launch.reason else ""
    ended = {"complete": "was completed", "failed": "failed"}.get(launch.status, "was stopped")
    return f"launch {launch.number} of version {launch.version} {ended}{since}{why}"


def _next(draft: Draft, now: int) -> Iterator[str]:
    spec = specs.decode(draft.job.current.spec)
    if draft.next_launch is not None:
        yield f"the clock launches it next in {span(draft.next_launch - now)}"
    elif spec.dispatch is not None:
        yield "it is launched when it is dispatched"
