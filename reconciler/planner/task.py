"""The rollout of one task: its slots brought to the present version, within what an update may disturb."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import Final

from heroctl.domain import spec as specs
from heroctl.domain.state import Alloc
from reconciler.planner.draft import Draft
from reconciler.planner.filters import Ask
from reconciler.planner.place import Picker
from reconciler.planner.reschedule import due
from reconciler.planner.slots import Need, Slot, arrange, cause, ended_at

HELD: Final = "held by the brake: too many nodes are down at once"


class TaskRollout:
    """One task of a job in one pass. `settle` first, then, unless the deployment ends there, `fill`."""

    def __init__(self, draft: Draft, task: specs.Task, allocs: list[Alloc]) -> None:
        summary = draft.job.current.task(task.name)
        self.name = task.name
        self.task = task
        self.content = summary.content if summary is not None else ""
        self.allocs = allocs
        self.slots = arrange(task.count, self.content, allocs, draft.scene.healthy)
        self.reasons: dict[str, None] = {}  # why replicas fit nowhere
        self._draft = draft
        self._scene = draft.scene
        self._job = draft.job
        self._deployment = draft.deployment

    # ── what is there ────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def done(self) -> bool:
        """Whether every slot is filled by a proven replica of the present version, and by nobody else."""
        return all(slot.fresh is not None and slot.old is None and self._proven(slot.fresh) for slot in self.slots)

    @property
    def _updating(self) -> bool:
        return self._deployment is not None and self._deployment.active

    @property
    def _failed(self) -> bool:
        return self._deployment is not None and self._deployment.status == "failed"

    def _proven(self, alloc: Alloc) -> bool:
        """Tell whether a replica has been healthy for long enough; if it is about to be, look again then."""
        if not self._scene.healthy(alloc) or alloc.healthy_since is None:
            return False
        at = alloc.healthy_since + self.task.update.min_healthy_time.ms
        if at > self._scene.now:
            self._draft.look_again(at)
        return at <= self._scene.now

    # ── two in one slot ──────────────────────────────────────────────────────────────────────────────────────────────

    def settle(self) -> None:
        """Stop whoever is one too many in a slot: the old once the new is proven, the new once its update failed."""
        for slot in self.slots:
            for alloc in slot.extra:
                self._stop(slot, alloc, "superseded")
            if slot.fresh is not None and slot.old is not None:
                self._settle(slot, slot.fresh, slot.old)

    def _settle(self, slot: Slot, fresh: Alloc, old: Alloc) -> None:
        if self._updating:
            if self._proven(fresh):
                self._stop(slot, old, "updated")
        elif self._scene.healthy(fresh) and not self._scene.healthy(old):
            self._stop(slot, old, "updated")
        else:
            self._stop(slot, fresh, "deployment_failed" if self._failed else "superseded")

    def _stop(self, slot: Slot, alloc: Alloc, reason: str) -> None:
        slot.last = self._draft.stop(alloc, reason)
        if slot.fresh is alloc:
            slot.fresh = None
        if slot.old is alloc:
            slot.old = None

    # ── empty slots ──────────────────────────────────────────────────────────────────────────────────────────────────

    def fill(self) -> None:
        """Place what empty slots need, then take the next steps of the update."""
        budget = self.task.update.max_parallel - self._in_flight() if self._updating else 0
        needs: list[Need] = []
        for slot in self.slots:
            if slot.filled:
                continue
            turn = self._updating and budget > 0
            need = self._need(slot, turn=turn)
            if need is not None:
                needs.append(need)
                budget -= 1 if turn and self._takes_turn(slot) else 0
        steps = self._steps() if budget > 0 else []
        if needs or steps:
            self._place(needs, steps, budget)

    def _in_flight(self) -> int:
        """Count the slots whose replacement is under way: two fill it, or the new one has yet to prove itself."""
        return sum(1 for slot in self.slots if self._is_in_flight(slot))

    def _is_in_flight(self, slot: Slot) -> bool:
        last = slot.last
        if slot.fresh is None:
            return slot.old is None and last is not None and last.why == "updated" and last.content != self.content
        if slot.old is not None or (slot.leaving is not None and slot.leaving.why == "updated"):
            return True
        mine = self._deployment is not None and slot.fresh.deployment == self._deployment.id
        return mine and bool(slot.fresh.replaces) and not self._proven(slot.fresh)

    def _takes_turn(self, slot: Slot) -> bool:
        """Tell whether filling an empty slot with the present version is a step of the update."""
        return slot.last is not None and self._lost_before_its_turn(slot.last)

    def _lost_before_its_turn(self, last: Alloc) -> bool:
        deployment = self._deployment
        if deployment is None or last.content == self.content or not (self._updating or self._failed):
            return False
        return cause(last) != "stopped" and ended_at(last) > deployment.create_index

    def _need(self, slot: Slot, *, turn: bool) -> Need | None:
        """Say what an empty slot needs now; None: nothing, or not yet."""
        last = slot.last
        if last is None:
            return self._present(slot)
        if slot.leaving is not None and last.why == "updated":
            return None  # stop-first: its end moves the job's topic
        if cause(last) == "lost" and self._scene.state.brake and self._scene.is_down(last.node):
            self.reasons[HELD] = None
            return None
        if last.content == self.content:
            return self._timed(last, self._present(slot))
        stopped_for_nothing = self._failed and last.why == "updated"
        if stopped_for_nothing or (self._lost_before_its_turn(last) and not turn):
            return self._timed(last, self._before(slot, last) or self._present(slot))
        return self._present(slot, "" if cause(last) == "stopped" and last.why != "updated" else last.id)

    def _present(self, slot: Slot, replaces: str = "") -> Need:
        return Need(
            slot.number, self.task, self._job.current.version, self.content, self._job.deployment, replaces=replaces
        )

    def _before(self, slot: Slot, last: Alloc) -> Need | None:
        """Ask for the version that the slot had: an update that is not done leaves the rest as it was."""
        version = self._job.version(last.version)
        task = specs.decode(version.spec).task(last.task) if version is not None else None
        if version is None or task is None:
            return None
        return Need(slot.number, task, version.version, last.content, last.deployment)

    def _timed(self, last: Alloc, need: Need) -> Need | None:
        """Let a failed one wait for its turn to be rescheduled; everybody else is replaced at once."""
        why = cause(last)
        if why == "stopped" and last.why != "updated":
            return need
        if why != "failed":
            return _instead(need, last, last.reschedules)
        when = due(last, need.task.reschedule)
        if when is None:
            return None
        at, times = when
        if at > self._scene.now:
            self._draft.look_again(at)
            return None
        return _instead(need, last, times, avoid=last.node)

    # ── steps of the update ──────────────────────────────────────────────────────────────────────────────────────────

    def _steps(self) -> list[Slot]:
        """List the outdated slots whose turn it could be: those that are not healthy cost nothing, so they go first."""
        waiting = [slot for slot in self.slots if slot.old is not None and slot.fresh is None and slot.leaving is None]
        return sorted(waiting, key=lambda slot: (slot.old is not None and self._scene.healthy(slot.old), slot.number))

    def _place(self, needs: list[Need], steps: list[Slot], budget: int) -> None:
        near: dict[str, int] = Counter(slot.newest.node for slot in self.slots if slot.newest is not None)
        present = self._job.current.version
        needs.sort(key=lambda need: (need.version == present, need.version, need.slot))
        for version, group in groupby(needs, key=lambda need: need.version):
            wanted = list(group)
            with self._picker(wanted[0].task, near) as picker:
                self._place_needs(picker, wanted)
                if version == present:
                    self._take_steps(picker, steps, budget)
        if steps and all(need.version != present for need in needs):
            with self._picker(self.task, near) as picker:
                self._take_steps(picker, steps, budget)

    def _picker(self, task: specs.Task, near: dict[str, int]) -> Picker:
        return Picker(self._scene.fleet, Ask.of(task), self.task.count, near, self._draft.closed)

    def _place_needs(self, picker: Picker, needs: list[Need]) -> None:
        for need in needs:
            if not self._may_go_on():
                return
            node = picker.pick(need.avoid)
            if node is not None:
                self._put(need, picker, node)
            elif self.slots[need.slot].leaving is not None:
                self._draft.waiting = True  # perhaps it needs what the one before still holds
            else:
                self._blocked(picker)

    def _take_steps(self, picker: Picker, steps: list[Slot], budget: int) -> None:
        update = self.task.update
        healthy = sum(1 for slot in self.slots if slot.newest is not None and self._scene.healthy(slot.newest))
        spare = healthy - (self.task.count - update.max_parallel)
        for slot in steps:
            old = slot.old
            if old is None or budget <= 0 or not self._may_go_on():
                return
            if update.order == "start-first" and self._start_first(picker, slot, old):
                budget -= 1
                continue
            costs = self._scene.healthy(old)
            if costs > max(spare, 0):
                self._draft.waiting = True  # not while others are ill, unless room comes free beside it
                continue
            if self._stop_first(picker, slot, old):
                budget -= 1
                spare -= costs

    def _start_first(self, picker: Picker, slot: Slot, old: Alloc) -> bool:
        picker.leave(old.node)
        node = picker.pick()
        if node is None:
            picker.come_back(old.node)
            return False
        self._put(self._present(slot, old.id), picker, node)
        return True

    def _stop_first(self, picker: Picker, slot: Slot, old: Alloc) -> bool:
        """Stop the old one if the new one would fit then: also the way for whom only the old one stands in the way."""
        fits = picker.possible or (
            old.node not in self._draft.closed and self._scene.fleet.fits_without(old, Ask.of(self.task))
        )
        if fits:
            self._stop(slot, old, "updated")
        else:
            self._blocked(picker)
        return fits

    # ── placing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _may_go_on(self) -> bool:
        if self._scene.exhausted:
            self._draft.cut = True
        return not self._draft.full

    def _put(self, need: Need, picker: Picker, node: str) -> None:
        self._draft.place(need, picker.ask, node)
        self._scene.placed()

    def _blocked(self, picker: Picker) -> None:
        self.reasons[self._scene.fleet.explain(picker.ask, frozenset(self._draft.barred), self._draft.refused)] = None
        if self._draft.barred:
            self._draft.look_again(min(self._draft.barred.values()))


def _instead(need: Need, last: Alloc, reschedules: int, avoid: str = "") -> Need:
    return Need(
        need.slot,
        need.task,
        need.version,
        need.content,
        need.deployment,
        replaces=last.id,
        reschedules=reschedules,
        avoid=avoid,
    )
