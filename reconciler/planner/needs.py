"""What an empty place in a slot needs: of which version, instead of whom, and whether now."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from heroctl.domain import spec as specs
from heroctl.domain.records import Alloc, Version
from reconciler.planner.draft import Draft
from reconciler.planner.reschedule import due, failed_on
from reconciler.planner.slots import MIGRATED, Kinds, Need, Slot, cause, ended_at, is_leaving

HELD: Final = "held by the brake: too many nodes are down at once"


class Needs:
    """Of one task in one pass. What must wait tells the draft until when, or `reasons` why."""

    def __init__(self, draft: Draft, task: specs.Task, kinds: Kinds) -> None:
        self.reasons: dict[str, None] = {}
        self._draft = draft
        self._task = task
        self._kinds = kinds
        self._scene = draft.scene
        self._job = draft.job
        self._deployment = draft.deployment
        self._wanted = (task, draft.job.current.version, kinds.content, draft.job.deployment)

    # ── a slot that is to be filled with the present version ─────────────────────────────────────────────────────────

    def present(self, slot: Slot, instead: str = "") -> Need:
        """Ask for the present version."""
        return Need(slot.number, *self._wanted, instead)

    def of_empty(self, slot: Slot, *, turn: bool) -> Need | None:
        """Say what an empty slot needs now; None: nothing, or not yet. `turn`: it may take a step of the update."""
        last = self._last(slot)
        if last is None:
            return self.present(slot)
        if slot.leaving is not None and last.why == "updated":
            self._draft.note(self._task.name, slot.number, "leaving")
            return None  # stop-first: its end moves the job's topic
        if self._held(last):
            return None
        if self._kinds.fresh(last):
            return self._timed(last, self.present(slot))
        if self._stopped_for_nothing(last) or (self.lost_before_its_turn(last) and not turn):
            return self._timed(last, self._before(slot, last) or self.present(slot))
        return self.present(slot, "" if cause(last) == "stopped" and last.why != "updated" else last.id)

    def takes_turn(self, slot: Slot) -> bool:
        """Tell whether filling an empty slot with the present version is a step of the update."""
        return slot.last is not None and self.lost_before_its_turn(slot.last)

    def lost_before_its_turn(self, last: Alloc) -> bool:
        """Tell whether an old replica was there when the update began, and nobody wanted it gone."""
        deployment = self._deployment
        if deployment is None or last.content == self._kinds.content:
            return False
        if not (deployment.active or deployment.status == "failed"):
            return False
        return cause(last) != "stopped" and ended_at(last) > deployment.create_index

    def _last(self, slot: Slot) -> Alloc | None:
        """Find whose place is to be taken. What stood by after an update was over is no predecessor any more."""
        over = self._deployment is not None and self._deployment.status == "successful"
        return slot.last_fresh or slot.last_old if over else slot.last

    def _stopped_for_nothing(self, last: Alloc) -> bool:
        failed = self._deployment is not None and self._deployment.status == "failed"
        return failed and last.why == "updated"

    # ── a fresh one beside the old ───────────────────────────────────────────────────────────────────────────────────

    def beside(self, slot: Slot) -> Need | None:
        """Say what a slot needs in which a fresh replica is to stand beside whoever is there."""
        last = slot.last_fresh
        if last is None or cause(last) == "stopped":
            return self.present(slot, slot.old.id if slot.old is not None else "")
        return self.lost_fresh(slot)

    def lost_fresh(self, slot: Slot) -> Need | None:
        """Say what a slot needs whose fresh replica was lost; None: it was not, or not yet."""
        last = slot.last_fresh
        if last is None or cause(last) == "stopped" or self._held(last):
            return None
        return self._timed(last, self.present(slot))

    # ── the old ones, while they are to stay ─────────────────────────────────────────────────────────────────────────

    def lost_old(self, slot: Slot) -> Need | None:
        """Say what a slot needs whose old replica was lost; None: it was not, or not yet."""
        last = slot.last_old
        return None if last is None or cause(last) == "stopped" else self._again(slot, last)

    def stopped_old(self, slot: Slot) -> Need | None:
        """Say what a slot needs whose old replica was stopped to make way, once that has ended."""
        last = slot.last_old
        if last is None or last is not slot.last or last.why != "updated" or slot.leaving is not None:
            return None
        return self._again(slot, last)

    def moved_old(self, slot: Slot) -> Need | None:
        """Say what a slot needs whose old replica was stopped to move."""
        last = slot.last_old
        return self._again(slot, last) if last is not None and last.why == MIGRATED else None

    def like(self, slot: Slot, base: Alloc) -> Need | None:
        """Say what a slot needs that is to be as another one was before the update."""
        return self._before(slot, base)

    def lost_abreast(self, slot: Slot) -> list[Need]:
        """Say what a slot needs of the versions that stand abreast."""
        gone = [last for content, last in sorted(slot.gone.items()) if content not in slot.abreast]
        needs = [self._again(slot, last) for last in gone if cause(last) != "stopped"]
        return [need for need in needs if need is not None]

    # ── one that is to move ──────────────────────────────────────────────────────────────────────────────────────────

    def elsewhere(self, slot: Slot, source: Alloc) -> Need | None:
        """Ask for the same on another node; None: not yet, after one that failed there, or of a forgotten version."""
        need = self.present(slot) if self._kinds.fresh(source) else self._before(slot, source)
        before = max((one for one in slot.lasts if one.replaces == source.id), key=lambda one: one.n, default=None)
        if need is not None and before is not None:
            need = None if self._held(before) else self._timed(before, need)
        if need is None:
            return None
        return replace(need, replaces=source.id, reschedules=max(need.reschedules, source.reschedules))

    def _again(self, slot: Slot, last: Alloc) -> Need | None:
        need = None if self._held(last) else self._before(slot, last)
        return None if need is None else self._timed(last, need)

    def _before(self, slot: Slot, last: Alloc) -> Need | None:
        """Ask for the version that a replica had, or, where that is forgotten, another one of the same content."""
        version = self._version(last)
        task = specs.decode(version.spec).task(last.task) if version is not None else None
        if version is None or task is None:
            return None
        return Need(slot.number, task, version.version, last.content, last.deployment)

    def _version(self, last: Alloc) -> Version | None:
        def same(version: Version) -> bool:
            summary = version.task(last.task)
            return summary is not None and summary.content == last.content

        exact = self._job.version(last.version)
        if exact is not None and same(exact):
            return exact
        return next((version for version in reversed(self._job.versions) if same(version)), None)

    # ── when ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _held(self, last: Alloc) -> bool:
        """Tell whether a lost one must not be replaced yet: it may be us who are cut off."""
        held = cause(last) == "lost" and self._scene.state.brake and self._scene.is_down(last.node)
        if held:
            self.reasons[HELD] = None
            self._draft.note(last.task, last.slot, "held")
        return held

    def _timed(self, last: Alloc, need: Need) -> Need | None:
        """Let a failed one wait for its turn to be rescheduled; everybody else is replaced at once."""
        why = cause(last)
        if why == "stopped" and last.why != "updated":
            return need
        if last.why == MIGRATED and is_leaving(last):
            self._draft.note(last.task, last.slot, "leaving")
            return None  # stop-first: its end moves the job's topic
        if why != "failed":
            return replace(need, replaces=last.id, reschedules=last.reschedules)
        when = due(last, need.task.reschedule)
        if when is None:
            self._draft.note(last.task, last.slot, "spent")
            return None
        at, times = when
        if at > self._scene.now:
            self._draft.note(last.task, last.slot, "delayed", at)
            self._draft.look_again(at)
            return None
        return replace(need, replaces=last.id, reschedules=times, avoid=failed_on(self._scene.state, last))
