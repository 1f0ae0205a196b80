"""A task's slots: who fills each of them, and what became of the one who did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal

from msgspec import Struct

from heroctl.domain import spec as specs
from heroctl.domain.lifecycle import DISCONNECTED, DRAIN_DEADLINE
from heroctl.domain.records import Alloc
from reconciler.planner.strategy import Stage

Better = Callable[[Alloc], Any]  # a key to sort by

Misplaced = Callable[[Alloc], bool]

Cause = Literal["lost", "moved", "requested", "stopped", "failed"]
MIGRATED: Final = "migrated"  # why one is stopped that another follows on another node
_MOVED: Final = frozenset({MIGRATED, DRAIN_DEADLINE})
_LOST: Final = frozenset({"node_lost", "node_removed"})  # of those given up; others were to stop anyway


class Need(Struct, frozen=True, gc=False):
    """A replica to place: of which version, for which slot, instead of which."""

    slot: int
    task: specs.Task  # of that version
    version: int
    content: str
    deployment: str
    replaces: str = ""
    reschedules: int = 0
    avoid: tuple[str, ...] = ()  # nodes that should not be the one, if another will do, the first least of all
    launch: int = 0  # of a batch job


class Move(Struct, frozen=True, gc=False):
    """Two of a kind in a slot: the one that is to leave its node, and the one that follows it on another."""

    source: Alloc
    successor: Alloc


class Kinds(Struct, frozen=True):
    """Tells a task's replicas apart: `fresh` (as wanted now), of a version that stands `abreast`, or `old`."""

    content: str  # the present one
    renewed: int  # index of the job's last restart: what was placed before it is old whatever it is made from
    abreast: frozenset[str]  # contents

    def fresh(self, alloc: Alloc) -> bool:
        """Tell whether a replica is as wanted now."""
        return alloc.content == self.content and alloc.create_index > self.renewed

    def stands_abreast(self, alloc: Alloc) -> bool:
        """Tell whether a replica is of an older version that stays."""
        return alloc.content in self.abreast

    def of(self, alloc: Alloc) -> str:
        """Name the kind of a replica."""
        if self.fresh(alloc):
            return "fresh"
        return alloc.content if self.stands_abreast(alloc) else "old"


_NONE: Final[Mapping[str, Alloc]] = MappingProxyType({})  # shared by all slots of which nothing stands abreast


class Slot(Struct, eq=False, gc=False):
    """One replica number of a task: at most one fresh replica, one old, and one of each version that stands abreast.

    Where one of them moves, two do: the better one stands here, and both in `moves`.
    """

    number: int
    stage: Stage = "replace"
    fresh: Alloc | None = None
    old: Alloc | None = None
    abreast: Mapping[str, Alloc] = _NONE  # by content
    last_fresh: Alloc | None = None  # of those that fill it no more, the one that did so last; of each kind
    last_old: Alloc | None = None
    gone: Mapping[str, Alloc] = _NONE  # those of versions that stand abreast, by content
    extra: tuple[Alloc, ...] = ()  # those that one too many fill it
    moves: tuple[Move, ...] = ()
    lone: bool = True  # nobody but a fresh one, if any, has to do with it: as it is with most, most of the time

    @property
    def filled(self) -> bool:
        """Whether somebody fills it."""
        return self.fresh is not None or self.old is not None

    @property
    def newest(self) -> Alloc | None:
        """The one that fills it, or will once the old one is stopped."""
        return self.fresh or self.old

    @property
    def holders(self) -> Iterator[Alloc]:
        """Those that fill it, of each kind one."""
        return (alloc for alloc in (self.fresh, self.old, *self.abreast.values()) if alloc is not None)

    @property
    def lasts(self) -> Iterator[Alloc]:
        """Those that fill it no more, of each kind the last."""
        return (alloc for alloc in (self.last_fresh, self.last_old, *self.gone.values()) if alloc is not None)

    @property
    def last(self) -> Alloc | None:
        """Whoever filled it last, and does no more."""
        return _later(self.last_old, self.last_fresh)

    @property
    def leaving(self) -> Alloc | None:
        """Whoever was told to make way here and has not ended yet."""
        last = self.last
        return last if last is not None and is_leaving(last) else None

    def enter(self, alloc: Alloc, kinds: Kinds, better: Better) -> None:
        """Enter one of its replicas, past or present. Of two of a kind the better one stays, the other is `extra`."""
        fresh, live = kinds.fresh(alloc), alloc.live
        self.lone = self.lone and fresh and live and self.fresh is None
        if fresh:
            if live:
                self.fresh = self._best(self.fresh, alloc, better)
            else:
                self.last_fresh = _later(self.last_fresh, alloc)
        elif kinds.stands_abreast(alloc):
            self._enter_abreast(alloc, better)
        elif live:
            self.old = self._best(self.old, alloc, better)
        else:
            self.last_old = _later(self.last_old, alloc)

    def _enter_abreast(self, alloc: Alloc, better: Better) -> None:
        content = alloc.content
        if alloc.live:
            self.abreast = {**self.abreast, content: self._best(self.abreast.get(content), alloc, better)}
        else:
            last = _later(self.gone.get(content), alloc)
            self.gone = {**self.gone, content: last or alloc}

    def pair(self, kinds: Kinds, better: Better, misplaced: Misplaced) -> None:
        """Of those that seem one too many, find who follows one that is to leave its node."""
        crowd, self.extra = self.extra, ()
        for holder in self.holders:
            mine = [alloc for alloc in crowd if kinds.of(alloc) == kinds.of(holder)]
            twins = sorted((alloc for alloc in (holder, *mine) if alloc.content == holder.content), key=better)
            source = next((alloc for alloc in twins if misplaced(alloc)), None)
            successor = next((alloc for alloc in twins if not misplaced(alloc)), None)
            pair = (source, successor)
            if source is not None and successor is not None:
                self.moves = (*self.moves, Move(source, successor))
            else:
                pair = (holder, None)
            self.extra += tuple(alloc for alloc in mine if all(alloc is not one for one in pair))

    def twins(self, alloc: Alloc) -> tuple[Alloc, ...]:
        """Give one of those that fill it, and who moves together with it."""
        move = next((move for move in self.moves if alloc is move.source or alloc is move.successor), None)
        return (alloc,) if move is None else (move.source, move.successor)

    def leave(self, alloc: Alloc, stopped: Alloc, kinds: Kinds) -> None:
        """Let one of those that fill it go; who moves together with it stays in its place."""
        self.lone = False
        other = next((twin for twin in self.twins(alloc) if twin is not alloc), None)
        self.moves = tuple(move for move in self.moves if alloc is not move.source and alloc is not move.successor)
        kind = kinds.of(alloc)
        if kind == "fresh":
            self.last_fresh = stopped
            self.fresh = other if self.fresh is alloc else self.fresh
        elif kind == "old":
            self.last_old = stopped
            self.old = other if self.old is alloc else self.old
        else:
            self.gone = {**self.gone, kind: stopped}
            if self.abreast.get(kind) is alloc:
                left = {content: one for content, one in self.abreast.items() if content != kind}
                self.abreast = left if other is None else {**left, kind: other}

    def _best(self, known: Alloc | None, other: Alloc, better: Better) -> Alloc:
        if known is None:
            return other
        best, worse = sorted((known, other), key=better)
        self.extra = (*self.extra, worse)
        return best


def _later(known: Alloc | None, other: Alloc | None) -> Alloc | None:
    if known is None or other is None:
        return known or other
    return other if (ended_at(known), known.n) < (ended_at(other), other.n) else known


def is_leaving(alloc: Alloc) -> bool:
    """Tell whether one that fills its slot no more may still hold what it held."""
    return not (alloc.terminal or alloc.given_up)


def cause(alloc: Alloc) -> Cause:
    """Say why an allocation fills its slot no more."""
    if alloc.given_up and (alloc.wanted == "run" or alloc.why in _LOST):
        return "lost"
    if alloc.wanted == "run" and alloc.reason == DISCONNECTED:
        return "lost"  # by itself, for it would have been given up
    if alloc.why in _MOVED and alloc.wanted == "stop":
        return "moved"
    if alloc.stop_requested or alloc.why == "requested":
        return "requested"
    return "stopped" if alloc.wanted == "stop" else "failed"


def ended_at(alloc: Alloc) -> int:
    """Return the index from which an allocation filled its slot no more."""
    return alloc.assign_index if alloc.wanted == "stop" else alloc.modify_index


def find(slots: Sequence[Slot], number: int) -> Slot:
    """Find a slot by its number. They are in order; those of a system job have gaps."""
    if number < len(slots) and slots[number].number == number:
        return slots[number]
    return next(slot for slot in slots if slot.number == number)


def arrange(count: int, allocs: Iterable[Alloc], kinds: Kinds, better: Better, misplaced: Misplaced) -> list[Slot]:
    """Sort a task's allocations into its slots 0..count-1. `better` orders two of a kind: the first one stays."""
    slots = [Slot(number) for number in range(count)]
    for alloc in allocs:
        if alloc.slot < count:
            slots[alloc.slot].enter(alloc, kinds, better)
    for slot in slots:
        if slot.extra:
            slot.pair(kinds, better, misplaced)
    return slots
