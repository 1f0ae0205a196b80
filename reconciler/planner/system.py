"""System jobs: one replica of each task on every node that fits, as nodes come and go.

A *seat* is a node that fits however full it is, and the number of the slot that it has there: the one it had before, as
long as anything of that is known, or else the lowest that is free. Everything else is as for any other job, within the
seats: who is outdated is replaced, node by node, where it is. A node that does not fit for now (it is down, drained, or
takes nothing new) has no seat: what it holds stays as it is. Only where a constraint says that a replica has no
business on a node it is stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import count

from msgspec.structs import replace

from heroctl.domain import spec as specs
from heroctl.domain.records import Alloc, Node
from heroctl.domain.topics import FLEET
from reconciler.planner.draft import Draft
from reconciler.planner.filters import Ask, counted, mismatched
from reconciler.planner.filters import reasons as summed
from reconciler.planner.slots import Better, Kinds, Slot
from reconciler.planner.task import TaskRollout
from reconciler.planner.words import amount

Seats = dict[str, int]  # of each node that fits, by id, the number of its slot


class SystemRollout(TaskRollout):
    """One task of a system job in one pass."""

    def __init__(self, draft: Draft, task: specs.Task, allocs: list[Alloc]) -> None:
        draft.watched.add(FLEET)
        self._ask = Ask.of(task, draft.job.namespace)
        allocs = [self._stay(draft, alloc) for alloc in allocs]
        self._seats = self._seat(draft, allocs)
        draft.seats |= {(task.name, number): node for node, number in self._seats.items()}
        lives = {alloc.node for alloc in allocs if alloc.live}
        room = sum(node in lives or draft.lacking(node, self._ask) is None for node in self._seats)
        super().__init__(draft, replace(task, count=room), allocs)  # who never had room is not missed

    def _stay(self, draft: Draft, alloc: Alloc) -> Alloc:
        """Stop a replica on a node on which it has no business, and return it as it will be."""
        room = draft.scene.fleet.rooms.get(alloc.node)
        if not alloc.live or room is None or not room.node.up or not mismatched(room.node, self._ask):
            return alloc
        return draft.stop(alloc, "constraint")

    def _seat(self, draft: Draft, allocs: list[Alloc]) -> Seats:
        rooms, shape = draft.scene.fleet.rooms, draft.scene.fleet.shape(self._ask)
        known = numbers(alloc for alloc in allocs if alloc.node in rooms)
        taken = set(known.values())
        free = (number for number in count() if number not in taken)
        replicas = Counter(alloc.node for alloc in allocs if alloc.live)
        fit = sorted(
            node
            for node, room in rooms.items()
            if shape.verdict(room).lack is None or _is_torn(room.node, replicas[node])
        )
        return {node: known[node] if node in known else next(free) for node in fit}

    def arrange(self, allocs: Iterable[Alloc], kinds: Kinds, better: Better) -> list[Slot]:
        """Sort the replicas into the slots of their nodes; those of nodes without a seat stand in none."""
        slots = {node: Slot(number) for node, number in self._seats.items()}
        for alloc in allocs:
            if alloc.node in slots:
                slots[alloc.node].enter(alloc, kinds, better)
        return sorted(slots.values(), key=lambda slot: slot.number)

    @property
    def done(self) -> bool:
        """Whether every seat has a proven replica of the present version, but for those that lack room for any.

        Where all of them do nothing is deployed yet; where there are none everything is.
        """
        none = bool(self.slots) and not any(slot.filled for slot in self.slots)
        return not none and all(self._is_done(slot) for slot in self.slots)

    def _is_done(self, slot: Slot) -> bool:
        if slot.filled or slot.leaving is not None or self.waits.reasons:
            return slot.fresh is not None and slot.old is None and self._proven(slot.fresh)
        return self._lacking(slot.number) is not None

    def fill(self) -> None:
        """Place what seats need; say how many lack room, and what."""
        super().fill()
        noted = (key for key, note in self._draft.notes.items() if key[0] == self.name and note.why == "seat")
        lacking = [self._lacking(number) or "room beside the one before" for _, number in noted]
        if lacking:
            listed = ", ".join(f"{each} {reason}" for reason, each in counted(lacking).items())
            self.reasons[f"{len(lacking)} of {amount(len(self.slots), 'node')}: {listed}"] = None
        if not self.slots and not any(slot.fresh for slot in unseated(self._draft, self.task)):
            rooms, shape = self._scene.fleet.rooms, self._scene.fleet.shape(self._ask)
            self.reasons[summed(filter(None, (shape.verdict(room).lack for room in rooms.values())))] = None

    def _lacking(self, number: int) -> str | None:
        """Say what a seat's node lacks for another replica, or None."""
        node = self._draft.seats[self.name, number]
        return self._draft.lacking(node, self._ask)


def unseated(draft: Draft, task: specs.Task) -> list[Slot]:
    """Give a slot each to those of a task that live on nodes without a seat, where they stay as they are."""
    summary = draft.job.current.task(task.name)
    kinds = Kinds(summary.content if summary is not None else "", draft.job.renewed, frozenset())
    seated = {node for (name, _), node in draft.seats.items() if name == task.name}
    found = []
    for alloc in draft.scene.state.allocs_of(draft.job.uid):
        if alloc.task == task.name and alloc.live and alloc.node not in seated:
            found.append(slot := Slot(alloc.slot))
            slot.enter(alloc, kinds, lambda alloc: alloc.n)
    return found


def _is_torn(node: Node, replicas: int) -> bool:
    """Tell whether a node takes nothing new in the midst of a step of an update, which can be ended."""
    return replicas > 1 and node.up is True and node.drain is None


def numbers(allocs: Iterable[Alloc]) -> Seats:
    """Give the number that each node has, by what is known of its replicas: of the one that lives, or of the newest."""
    found: Seats = {}
    taken: set[int] = set()
    for alloc in sorted(allocs, key=lambda alloc: (alloc.live, alloc.n), reverse=True):
        if alloc.node not in found and alloc.slot not in taken:
            found[alloc.node] = alloc.slot
            taken.add(alloc.slot)
    return found
