"""A task's slots: who fills each of them, and what became of the one who did."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from msgspec import Struct

from heroctl.domain import spec as specs
from heroctl.domain.state import Alloc

Cause = Literal["lost", "requested", "stopped", "failed"]


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


class Slot:
    """One replica number of a task. `fresh` has the present version's content, `old` another; both fill the slot."""

    __slots__ = ("extra", "fresh", "last", "number", "old")

    def __init__(self, number: int) -> None:
        self.number = number
        self.fresh: Alloc | None = None
        self.old: Alloc | None = None
        self.last: Alloc | None = None  # of those that fill it no more, the one that did so last
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
    def leaving(self) -> Alloc | None:
        """Whoever was told to make way here and has not ended yet."""
        last = self.last
        return last if last is not None and not last.terminal and not last.given_up else None


def cause(alloc: Alloc) -> Cause:
    """Say why an allocation fills its slot no more."""
    if alloc.given_up:
        return "lost"
    if alloc.stop_requested or alloc.why == "requested":
        return "requested"
    return "stopped" if alloc.wanted == "stop" else "failed"


def ended_at(alloc: Alloc) -> int:
    """Return the index from which an allocation filled its slot no more."""
    return alloc.assign_index if alloc.wanted == "stop" else alloc.modify_index


def arrange(count: int, content: str, allocs: Iterable[Alloc], healthy: Callable[[Alloc], bool]) -> list[Slot]:
    """Sort a task's allocations into its slots 0..count-1. Of two of a kind the healthy one stays, then the elder."""
    slots = [Slot(number) for number in range(count)]
    for alloc in allocs:
        if alloc.slot >= count:
            continue
        slot = slots[alloc.slot]
        if not alloc.live:
            if slot.last is None or (ended_at(slot.last), slot.last.n) < (ended_at(alloc), alloc.n):
                slot.last = alloc
        elif alloc.content == content:
            slot.fresh = _better(slot, slot.fresh, alloc, healthy)
        else:
            slot.old = _better(slot, slot.old, alloc, healthy)
    return slots


def _better(slot: Slot, known: Alloc | None, other: Alloc, healthy: Callable[[Alloc], bool]) -> Alloc:
    if known is None:
        return other
    better, worse = sorted((known, other), key=lambda alloc: (not healthy(alloc), alloc.n))
    slot.extra.append(worse)
    return better
