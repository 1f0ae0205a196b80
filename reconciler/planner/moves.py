"""Replicas that are to leave their nodes: who follows each of them, and how many are on their way.

One that is misplaced stays until another of the very same content has been healthy on another node for long enough, or,
where its task says stop-first, is stopped first. What it is decides nothing: an old replica moves as an old one, a
canary as a canary, whatever becomes of the deployment. Only what an update under way replaces anyway does not move
before: the step of the update is its way off the node.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from heroctl.domain import spec as specs
from heroctl.domain.records import Alloc
from reconciler.planner.draft import Draft
from reconciler.planner.needs import Needs
from reconciler.planner.slots import MIGRATED, Kinds, Move, Need, Slot, is_leaving


class Leaver(Struct, frozen=True, gc=False):
    """One that is to leave its node, and what is needed elsewhere first."""

    slot: Slot
    source: Alloc
    need: Need


class Moves:
    """Of one task in one pass. `rolls`: whether an update is under way that may take steps."""

    def __init__(self, draft: Draft, task: specs.Task, kinds: Kinds, needs: Needs, *, rolls: bool) -> None:
        self._draft = draft
        self._task = task
        self._scene = draft.scene
        self._kinds = kinds
        self._needs = needs
        self._rolls = rolls

    def pairs(self, slot: Slot) -> Iterator[Move]:
        """Give the moves under way in a slot."""
        yield from slot.moves
        if (restarted := self.restarted(slot)) is not None:
            yield restarted

    def restarted(self, slot: Slot) -> Move | None:
        """Find an old replica that is to leave, and who follows it: a fresh one, where it is old only by a restart."""
        old, fresh = slot.old, slot.fresh
        if old is None or fresh is None or old.content != fresh.content or self.is_updated(slot, old):
            return None
        if any(old is move.source for move in slot.moves):
            return None  # by one of its own kind
        return Move(old, fresh) if self._scene.misplaced(old) and not self._scene.misplaced(fresh) else None

    def over(self, slot: Slot) -> Iterator[tuple[Alloc, str]]:
        """Say who goes of those that move: the one before once the next is proven; the next if an update takes over."""
        for move in self.pairs(slot):
            if self._draft.proven(move.successor, self._task):
                yield move.source, MIGRATED
            elif self.is_updated(slot, move.source):
                ahead = slot.old is move.successor  # as the one before is ill
                yield (move.source, MIGRATED) if ahead else (move.successor, "superseded")

    def is_updated(self, slot: Slot, alloc: Alloc) -> bool:
        """Tell whether an update under way will replace one: it need not move before."""
        return self._rolls and slot.stage == "replace" and self._kinds.of(alloc) == "old"

    def in_flight(self, slot: Slot) -> int:
        """Count those of a slot that are on their way from one node to another."""
        if slot.lone:
            return 0
        stopped = (last for last in slot.lasts if last.why == MIGRATED and self._is_awaited(slot, last))
        return sum(1 for _ in self.pairs(slot)) + sum(1 for _ in stopped)

    def _is_awaited(self, slot: Slot, last: Alloc) -> bool:
        """Tell whether one that was stopped to move has not ended, or is yet to be followed by a proven one."""
        if is_leaving(last):
            return True
        successor = next((holder for holder in slot.holders if holder.replaces == last.id), None)
        if successor is not None:
            return not self._draft.proven(successor, self._task)
        abreast = self._kinds.stands_abreast(last)
        return last.content not in slot.abreast if abreast else not slot.filled

    def waiting(self, slots: Iterable[Slot]) -> list[Leaver]:
        """List those whose turn to leave it could be: the ones that are not healthy cost nothing, so they go first."""
        found = [leaver for slot in slots for leaver in self._leavers(slot)]
        return sorted(found, key=lambda one: (self._scene.healthy(one.source), one.slot.number, one.source.n))

    def _leavers(self, slot: Slot) -> Iterator[Leaver]:
        if slot.lone and (slot.fresh is None or not self._scene.misplaced(slot.fresh)):
            return
        for source in slot.holders:
            if not self._scene.misplaced(source) or self._scene.is_down(source.node) or self._is_followed(slot, source):
                continue
            need = self._needs.elsewhere(slot, source)
            if need is None:
                continue
            if is_bound(need.task):
                self._draft.note(source.task, slot.number, "bound", move=source)
            else:
                yield Leaver(slot, source, need)

    def _is_followed(self, slot: Slot, source: Alloc) -> bool:
        """Tell whether another takes the place of one already, or will."""
        if any(source is move.source for move in slot.moves) or self.is_updated(slot, source):
            return True
        of_old = self._kinds.of(source) == "old"
        if of_old and slot.fresh is not None and source.content == self._kinds.content:
            return True
        return of_old and slot.stage == "replace" and slot.fresh is not None


def is_bound(task: specs.Task) -> bool:
    """Tell whether a replica cannot leave its node: it has a volume there that is its own.

    It goes on serving until a drain's deadline; then whoever is to follow it waits for the volume's node.
    """
    return any(volume.named and not (volume.read_only or volume.shared) for volume in task.volumes)
