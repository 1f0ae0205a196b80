"""The proof of snapshots: that each is what the log before it amounts to. A part of `python -m eventstore verify`.

Its own hash proves that a snapshot's bytes were not damaged. Whoever changes them on purpose changes the hash with
them; so each is folded again, from the one before it or from the log's start, and compared with what is kept. The
oldest has nothing before it once the log's start has gone: of that one the hash alone is checked, and it is what the
audit exports were written beside.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.metadata import version

from eventstore.log import Compacted, Log, OtherHistory, Position
from eventstore.snapshot import FORMAT, UPGRADES, Newer, Unreadable, Writing
from eventstore.snapshots import Snapshot, Snapshots
from eventstore.tail import Tail
from eventstore.verify import Fault
from eventstore.view import fold
from heroctl.domain.state import State


async def states(log: Log, snapshots: Snapshots) -> AsyncIterator[Fault]:
    """Give a fault for each snapshot that does not hold. Those of a newer release are left to it.

    Raises LogUnavailable. The log itself must have been found sound: what cannot be followed is passed over here.
    """
    before: tuple[State, Position] | None = (State(), Position())
    for snapshot in reversed(await snapshots.listed()):
        if snapshot.format not in {FORMAT, *UPGRADES}:
            continue
        try:
            kept = await snapshots.read(snapshot)
        except Newer:
            continue
        except Unreadable as error:
            yield _fault(snapshot, str(error))
            continue
        folded = None if before is None else await _forward(log, *before, snapshot.position)
        if folded is not None and _bytes(folded, snapshot) != _bytes(kept, snapshot):
            yield _fault(snapshot, "it is not what the log amounts to there")
        before = (folded or kept, snapshot.position)


async def _forward(log: Log, state: State, position: Position, to: Position) -> State | None:
    """Fold a state on to a place; None: the log does not lead there from where it stands."""
    tail = Tail(log, position)
    try:
        async for records in tail.pages(to.index):
            if fold(state, records)[1] is not None:
                return None
    except (Compacted, OtherHistory):
        return None
    return state if tail.position == to else None


def _bytes(state: State, snapshot: Snapshot) -> bytes:
    writing = Writing(state, snapshot.position, version("heroctl"))
    for _ in writing:
        pass
    return writing.hash


def _fault(snapshot: Snapshot, problem: str) -> Fault:
    return Fault(snapshot.index, snapshot.index, "snapshot", f"the snapshot at {snapshot.index}: {problem}")
