"""A task's slots: who fills each of them, and what became of the one who did."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

from msgspec import Struct

from heroctl.domain import spec as specs
from heroctl.domain.records import Alloc
from reconciler.planner.strategy import Stage

Better = Callable[[Alloc], Any]  # a key to sort by

Cause = Literal["lost", "requested", "stopped", "failed"]
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
    avoid: str = ""  # a node that should not be the one, if another will do


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


_NONE: Final[dict[str, Alloc]] = {}  # shared by all slots of which nothing stands abreast; never written to


class Slot:
    """One replica number of a task: at most one fresh replica, one old, and one of each version that stands abreast."""

    __slots__ = ("abreast", "extra", "fresh", "gone", "last_fresh", "last_old", "number", "old", "stage")

    def __init__(self, number: int) -> None:
        self.number = number
        self.stage: Stage = "replace"
        self.fresh: Alloc | None = None
        self.old: Alloc | None = None
        self.abreast = _NONE  # by content
        self.last_fresh: Alloc | None = None  # of those that fill it no more, the one that did so last; of each kind
        self.last_old: Alloc | None = None
        self.gone = _NONE  # those of versions that stand abreast, by content
        self.extra: list[Alloc] = []  # those that one too many fill it

    @property
    def filled(self) -> bool:
        """Whether somebody fills it."""
        return self.fresh is not None or self.old is not None

    @property
    def newest(self) -> Alloc | None:
        """The one that fills it, or will once the old one is stopped."""
        return self.fresh or self.old

    @property
    def last(self) -> Alloc | None:
        """Whoever filled it last, and does no more."""
        return _later(self.last_old, self.last_fresh)

    @property
    def leaving(self) -> Alloc | None:
        """Whoever was told to make way here and has not ended yet."""
        last = self.last
        return last if last is not None and not last.terminal and not last.given_up else None

    def enter(self, alloc: Alloc, kinds: Kinds, better: Better) -> None:
        """Enter one of its replicas, past or present. Of two of a kind the better one stays, the other is `extra`."""
        if kinds.fresh(alloc):
            if alloc.live:
                self.fresh = self._best(self.fresh, alloc, better)
            else:
                self.last_fresh = _later(self.last_fresh, alloc)
        elif kinds.stands_abreast(alloc):
            self._enter_abreast(alloc, better)
        elif alloc.live:
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

    def _best(self, known: Alloc | None, other: Alloc, better: Better) -> Alloc:
        if known is None:
            return other
        best, worse = sorted((known, other), key=better)
        self.extra.append(worse)
        return best


def _later(known: Alloc | None, other: Alloc | None) -> Alloc | None:
    if known is None or other is None:
        return known or other
    return other if (ended_at(known), known.n) < (ended_at(other), other.n) else known


def cause(alloc: Alloc) -> Cause:
    """Say why an allocation fills its slot no more."""
    if alloc.given_up and (alloc.wanted == "run" or alloc.why in _LOST):
        return "lost"
    if alloc.stop_requested or alloc.why == "requested":
        return "requested"
    return "stopped" if alloc.wanted == "stop" else "failed"


def ended_at(alloc: Alloc) -> int:
    """Return the index from which an allocation filled its slot no more."""
    return alloc.assign_index if alloc.wanted == "stop" else alloc.modify_index


def arrange(count: int, allocs: Iterable[Alloc], kinds: Kinds, better: Better) -> list[Slot]:
    """Sort a task's allocations into its slots 0..count-1. `better` orders two of a kind: the first one stays."""
    slots = [Slot(number) for number in range(count)]
    for alloc in allocs:
        if alloc.slot < count:
            slots[alloc.slot].enter(alloc, kinds, better)
    return slots
