"""What a batch job needs now: the replicas of its launches, how each launch ends, and what the clock launches next.

A launch has slots of its own, which are filled until each has ended well. One that failed is tried again on another
node as `reschedule` says; once that is spent the launch has failed, and what is left of it is stopped. What was stopped
or lost is begun anew. Nothing is ever moved while it works: who leaves a drained node is stopped at the deadline.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Final, Literal

from msgspec.structs import replace

from heroctl.domain import cron
from heroctl.domain import spec as specs
from heroctl.domain.events import JobLaunched, JobLaunchFinished, JobLaunchSkipped
from heroctl.domain.evolve.launches import running
from heroctl.domain.intents.change import job_stream
from heroctl.domain.intents.launches import MAX_RUNNING
from heroctl.domain.lifecycle import LaunchKind
from heroctl.domain.records import Alloc, Launch
from reconciler.planner.depends import NOTHING, waits
from reconciler.planner.draft import Draft, Note
from reconciler.planner.needs import HELD
from reconciler.planner.picker import Picker
from reconciler.planner.reschedule import due, failed_on
from reconciler.planner.secrets import withheld
from reconciler.planner.slots import Need, Slot, cause, is_leaving
from reconciler.planner.words import ended

SUPERSEDING: Final[frozenset[LaunchKind]] = frozenset({"submit", "restart"})  # they wait until those before are gone
_SAID: Final = 500  # characters of a reason

Place = tuple[str, int]  # a task and a slot of it


def decide_batch(draft: Draft, allocs: list[Alloc]) -> None:
    """Decide on a batch job that is wanted; and let those who ask look at a launch that waits, or else the newest."""
    _decide(draft, allocs)
    going = [run for run in draft.runs if not run.over]
    draft.told = next((run for run in going if run.notes), going[-1] if going else None)
    if draft.told is not None:
        draft.slots, draft.notes = draft.told.slots, draft.told.notes


def _decide(draft: Draft, allocs: list[Alloc]) -> None:
    job = draft.job
    by_launch: dict[int, list[Alloc]] = {launch.number: [] for launch in running(draft.scene.state, job.uid)}
    over = []
    for alloc in allocs:
        if alloc.launch in by_launch:
            by_launch[alloc.launch].append(alloc)
        else:
            over.append(draft.stop(alloc, "launch_over") if alloc.live else alloc)
    held_up = any(is_leaving(alloc) for alloc in over)
    draft.runs = [Run(draft, launch, by_launch[launch.number]) for launch in running(draft.scene.state, job.uid)]
    for run in draft.runs:
        if not run.end():
            run.fill(held_up=held_up)
        if draft.cut:
            return
    _clock(draft, [run.launch for run in draft.runs if not run.over])
    draft.tell_blocked(tuple(dict.fromkeys(reason for run in draft.runs for reason in run.reasons)))


def _clock(draft: Draft, going: list[Launch]) -> None:
    """Launch what is due, once. Of what was missed meanwhile only the newest is; without `overlap` one waits for none.

    That it stands on the job's stream, as all that launches does, is what makes it once: whoever has decided before,
    and is not heard any more, has moved that.
    """
    job, now = draft.job, draft.scene.now
    periodic = specs.decode(job.current.spec).periodic
    if periodic is None:
        return
    draft.next_launch = cron.following(periodic.cron, periodic.time_zone, max(now, job.scheduled))
    if draft.next_launch is not None:
        draft.look_again(draft.next_launch)
    at = cron.latest(periodic.cron, periodic.time_zone, job.scheduled, now)
    if at is None:
        return
    draft.moves = (job_stream(job.namespace, job.name),)
    named = (job.uid, job.namespace, job.name)
    if going and (not periodic.overlap or len(going) >= MAX_RUNNING):
        draft.events.append(JobLaunchSkipped(*named, going[-1].number, at))
    else:
        draft.events.append(JobLaunched(*named, job.current.version, job.launched + 1, at))


class Run:
    """One launch in one pass: who has which of its slots, and what is to become of those that nobody has."""

    def __init__(self, draft: Draft, launch: Launch, allocs: list[Alloc]) -> None:
        version = draft.job.version(launch.version)
        if version is None:  # those that launches go on with are kept, so this is a broken history
            raise LookupError(f"launch {launch.number} is of version {launch.version}, which is forgotten")
        self.launch = launch
        self.spec = specs.decode(version.spec)
        self.newest: dict[Place, Alloc] = {}  # who has each slot, or had it last
        self.notes: dict[Place, Note] = {}  # why a slot is not filled now
        self.reasons: dict[str, None] = {}  # why replicas are not placed
        self.over = False
        self._draft = draft
        self._scene = draft.scene
        self._contents = {task.name: task.content for task in version.tasks}
        for alloc in allocs:
            self._enter(alloc)

    def _enter(self, alloc: Alloc) -> None:
        """Enter one of its replicas, the oldest first, and stop one that has no place any more."""
        task = self.spec.task(alloc.task)
        if task is not None and alloc.slot < task.count:
            self.newest[alloc.task, alloc.slot] = alloc
        elif alloc.live:
            self._draft.stop(alloc, "scaled_down")

    # ── how it stands ────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def places(self) -> Iterator[tuple[specs.Task, int]]:
        """Give every slot that there is."""
        return ((task, slot) for task in self.spec.tasks for slot in range(task.count))

    def done(self, task: str, slot: int) -> bool:
        """Tell whether a slot has ended well."""
        last = self.newest.get((task, slot))
        return last is not None and is_done(last)

    def end(self) -> bool:
        """End the launch if it is time, and tell whether it did."""
        spent = next(self._spent(), None)
        if spent is not None:
            self._finish("failed", f"{spent.task}[{spent.slot}] {ended(spent)}"[:_SAID])
            for alloc in self.newest.values():
                if alloc.live:
                    self._draft.stop(alloc, "launch_failed")
        elif all(self.done(task.name, slot) for task, slot in self.places):
            self._finish("complete", "")
        return self.over

    def _finish(self, status: Literal["complete", "failed"], reason: str) -> None:
        job = self._draft.job
        named = (job.uid, job.namespace, job.name)
        self._draft.events.append(JobLaunchFinished(*named, self.launch.number, status, reason))
        self.over = True

    def _spent(self) -> Iterator[Alloc]:
        """Give those that failed, and are not tried again."""
        for task, slot in self.places:
            last = self.newest.get((task.name, slot))
            if last is not None and _failed(last) and due(last, task.reschedule) is None:
                yield last

    # ── filling ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def fill(self, *, held_up: bool) -> None:
        """Place what slots need. `held_up`: something of an earlier launch has yet to end."""
        wait = held_up and self.launch.kind in SUPERSEDING
        for task in self.spec.tasks:
            needs = [need for slot in range(task.count) if (need := self._need(task, slot)) is not None]
            if wait:
                for need in needs:
                    self.notes[task.name, need.slot] = Note("leaving")
            elif needs := self._begun(task, needs):
                self._place(task, needs)
            if self._draft.cut:
                return

    def _begun(self, task: specs.Task, needs: list[Need]) -> list[Need]:
        """Leave out what is not to begin yet, as its task waits for others; what began once is not held back again."""
        waiting = waits(self._scene, self._draft.job, task, self.slots) if needs and task.depends_on else NOTHING
        if not waiting.reasons:
            return needs
        first = [need for need in needs if not need.replaces]
        for need in first:
            self.notes[task.name, need.slot] = Note("depends", said="; ".join(waiting.reasons))
        if first:
            self.reasons.update(dict.fromkeys(self._named(task, reason) for reason in waiting.reasons))
            self._draft.watched.update(waiting.topics)
        return [need for need in needs if need.replaces]

    @cached_property
    def slots(self) -> dict[str, list[Slot]]:
        """Give its slots as those who wait for one of its tasks look at them."""
        slots = {task.name: [Slot(number) for number in range(task.count)] for task in self.spec.tasks}
        for (task, number), alloc in self.newest.items():
            slot = slots[task][number]
            slot.fresh, slot.last_fresh = (alloc, None) if alloc.live else (None, alloc)
            slot.lone = alloc.live
        return slots

    def _need(self, task: specs.Task, slot: int) -> Need | None:
        """Say what a slot needs; None: nothing, or not yet."""
        last = self.newest.get((task.name, slot))
        content, number = self._contents[task.name], self.launch.number
        need = Need(slot, task, self.launch.version, content, "", launch=number)
        if last is None:
            return need
        if last.live or is_done(last):
            return None
        if is_leaving(last):
            self.notes[task.name, slot] = Note("leaving")
            return None  # its end moves the job's topic
        need = replace(need, replaces=last.id, reschedules=last.reschedules)
        if cause(last) == "lost" and self._scene.state.brake and self._scene.is_down(last.node):
            self.reasons[HELD] = None
            self.notes[task.name, slot] = Note("held")
            return None
        return self._timed(task, last, need) if _failed(last) else need

    def _timed(self, task: specs.Task, last: Alloc, need: Need) -> Need | None:
        """Let one that failed wait for its turn, and then try another node, if another will do."""
        when = due(last, task.reschedule)
        if when is None:
            return None
        at, times = when
        if at > self._scene.now:
            self.notes[task.name, last.slot] = Note("delayed", at)
            self._draft.look_again(at)
            return None
        return replace(need, reschedules=times, avoid=failed_on(self._scene.state, last))

    def _place(self, task: specs.Task, needs: Iterable[Need]) -> None:
        draft, scene = self._draft, self._scene
        lacking = withheld(draft, self.launch.version, task.name)
        if lacking:
            for need in needs:
                self.notes[task.name, need.slot] = Note("secret", said="; ".join(lacking))
            self.reasons.update(dict.fromkeys(self._named(task, reason) for reason in lacking))
            return
        near = Counter(alloc.node for (name, _), alloc in self.newest.items() if name == task.name and alloc.live)
        with draft.picker(task, near) as picker:
            for need in needs:
                if not draft.may_place():
                    return
                node = picker.pick(need.avoid, draft.bound_to(task, need.slot))
                if node is None:
                    self._blocked(task, need.slot, picker)
                else:
                    draft.place(need, picker.ask, node)
                    scene.placed()

    def _blocked(self, task: specs.Task, slot: int, picker: Picker) -> None:
        lacking = self._draft.make_room(task, slot, picker) or self._draft.blocked(task, slot, picker)
        self.notes[task.name, slot] = self._draft.notes[task.name, slot]
        self.reasons[self._named(task, lacking)] = None

    def _named(self, task: specs.Task, reason: str) -> str:
        return f"{task.name}: {reason}" if len(self.spec.tasks) > 1 else reason


def is_done(alloc: Alloc) -> bool:
    """Tell whether a replica has ended well. One that was told to stop may have ended with 0 for that."""
    return alloc.terminal and alloc.phase == "complete" and alloc.wanted == "run" and not alloc.given_up


def _failed(alloc: Alloc) -> bool:
    return alloc.terminal and alloc.phase == "failed" and cause(alloc) == "failed"
