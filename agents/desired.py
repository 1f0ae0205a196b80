"""What the control plane wants of this node, as last heard. Pure: replies and rings in, wishes out.

- Older than what is held, of the same incarnation: ignored. Another incarnation is never older.
- Only a complete assignment drops what it does not name, and then a grace runs; a named stop acts at once.
- What an earlier incarnation named and the present one does not is kept, until the present one names it again.
- The newest mark of a history is kept beside the index: by it the control plane tells that history from another one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from msgspec import Struct, field
from msgspec.structs import replace

from agents.step import Wish
from heroctl.domain.assignment import Assigned, Mark, Ring, SyncReply

GRACE: Final = 300.0  # seconds between not being named any more and being stopped


class Dropped(Struct, frozen=True, gc=False):
    """An allocation that a complete assignment no longer named, and since when."""

    assigned: Assigned
    since: float


class Told(Struct, frozen=True):
    """Which assignment is held, and the newest mark of that history that was heard."""

    incarnation: str = ""
    index: int = 0
    mark: Mark | None = None


class Desired(Struct, frozen=True):
    """The assignment held. Times are of the machine's monotonic clock, in seconds."""

    incarnation: str = ""
    index: int = 0
    allocs: dict[str, Assigned] = field(default_factory=dict)
    kept: dict[str, Assigned] = field(default_factory=dict)  # named by an earlier incarnation only
    dropped: dict[str, Dropped] = field(default_factory=dict)
    complete_at: float | None = None  # when this process first heard a complete one of this incarnation
    mark: Mark | None = None

    @property
    def told(self) -> Told:
        """Which assignment this is."""
        return Told(self.incarnation, self.index, self.mark)

    @property
    def marked(self) -> bool:
        """Whether its mark covers all of it."""
        return self.mark is not None and self.mark.index >= self.index

    def known(self, alloc: str) -> Assigned | None:
        """Return what was last said of an allocation, whether it still holds or not."""
        dropped = self.dropped.get(alloc)
        return self.allocs.get(alloc) or self.kept.get(alloc) or (dropped.assigned if dropped else None)


class Heard(NamedTuple):
    """The assignment held from here on, and the allocations whose wish may have changed. `pull`: ask for all of it."""

    desired: Desired
    touched: frozenset[str]
    pull: bool = False


def answered(desired: Desired, reply: SyncReply, now: float) -> Heard:
    """Take in the answer to a sync."""
    same = reply.incarnation == desired.incarnation
    if same and reply.index < desired.index:
        return Heard(desired, frozenset())
    if reply.complete is not None:
        replaced = _replaced(desired, reply.incarnation, reply.index, reply.complete, now)
        return _marked(replaced, desired.mark if same else None, reply.mark)
    if not same:
        return Heard(desired, frozenset(), pull=True)
    return _marked(_changed(desired, reply.index, reply.changed), desired.mark, reply.mark)


def rung(desired: Desired, ring: Ring) -> Heard:
    """Take in an entry of the command stream; what does not fit on what is held is a reason to pull."""
    if ring.incarnation == desired.incarnation and ring.index <= desired.index:
        return Heard(desired, frozenset())
    fits = ring.incarnation == desired.incarnation and ring.prev == desired.index and ring.changed is not None
    if not fits:
        return Heard(desired, frozenset(), pull=True)
    return _marked(_changed(desired, ring.index, ring.changed or ()), desired.mark, ring.mark)


def renewed(before: Desired, after: Desired) -> bool:
    """Tell whether the next process must know another assignment than before.

    Marks alone are no reason: they move with whatever happens in the cluster, and one that covers the index will do.
    """
    return (before.incarnation, before.index, before.marked) != (after.incarnation, after.index, after.marked)


def wish(desired: Desired, alloc: str, *, origin: str, found_at: float, now: float) -> Wish:
    """Say what is wanted of one allocation, named or not.

    `origin` is the incarnation on its container's label, "" where there is none; `found_at`: when it was first seen.
    """
    assigned = desired.allocs.get(alloc)
    if assigned is not None:
        return Wish(assigned.wanted, assigned, desired.incarnation)
    dropped = desired.dropped.get(alloc)
    if alloc in desired.kept or desired.complete_at is None:
        return Wish("keep")
    if dropped is None and origin not in ("", desired.incarnation):
        return Wish("keep")
    since = max(found_at, desired.complete_at) if dropped is None else dropped.since
    if now < since + GRACE:
        return Wish("keep", until=since + GRACE)
    return Wish("stop", dropped.assigned if dropped else None, desired.incarnation)


def forgotten(desired: Desired, allocs: Collection[str]) -> Desired:
    """Forget allocations that are over and that nothing is left of."""
    return replace(
        desired,
        allocs={key: one for key, one in desired.allocs.items() if key not in allocs},
        kept={key: one for key, one in desired.kept.items() if key not in allocs},
        dropped={key: one for key, one in desired.dropped.items() if key not in allocs},
    )


def _marked(heard: Heard, before: Mark | None, mark: Mark | None) -> Heard:
    """Keep the newer of two marks of one history; releases before this one give none."""
    if mark is None or (before is not None and before.index > mark.index):
        mark = before
    return heard._replace(desired=replace(heard.desired, mark=mark))


def _changed(desired: Desired, index: int, changed: Iterable[Assigned]) -> Heard:
    """Merge single allocations; each carries the index of its last change, so that a late one undoes nothing."""
    newer = {one.id: one for one in changed if (old := desired.allocs.get(one.id)) is None or one.index >= old.index}
    merged = replace(
        desired,
        index=max(index, desired.index),
        allocs=desired.allocs | newer,
        kept={key: one for key, one in desired.kept.items() if key not in newer},
        dropped={key: one for key, one in desired.dropped.items() if key not in newer},
    )
    return Heard(merged, frozenset(newer))


def _replaced(desired: Desired, incarnation: str, index: int, complete: Iterable[Assigned], now: float) -> Heard:
    allocs = {one.id: one for one in complete}
    unnamed = {key: one for key, one in desired.allocs.items() if key not in allocs}
    kept = {key: one for key, one in desired.kept.items() if key not in allocs}
    dropped = {key: one for key, one in desired.dropped.items() if key not in allocs}
    same = incarnation == desired.incarnation
    if same:
        dropped |= {key: Dropped(one, now) for key, one in unnamed.items()}
    else:
        kept |= unnamed | {key: one.assigned for key, one in dropped.items()}
        dropped = {}
    since = desired.complete_at if same and desired.complete_at is not None else now
    held = Desired(incarnation, index, allocs, kept, dropped, since)
    return Heard(held, frozenset({*allocs, *unnamed, *desired.kept, *desired.dropped}))
