"""Snapshots of the folded state: a process starts from the newest that is true, and folds only what follows it.

One counts if it was read back whole when it was made, if this release can read it, if its hash holds, and if the log
goes on from where it stands: (index, chain) of another history fits nothing here. Whatever does not is refused, told
and never tried again; then the next older one serves, or the log from its start. One of a newer release is passed over
and left as it is: others read it.
"""

from __future__ import annotations

from typing import Final

import structlog
from msgspec.structs import replace

from eventstore.log import Log, Position
from eventstore.shelf import Shelf, Snapshot, begun
from eventstore.snapshot import FORMAT, UPGRADES, Newer, Reading, Unreadable, Writing
from eventstore.tail import continues
from heroctl.domain.state import State

__all__ = ["Snapshot", "Snapshots"]

_KEPT: Final = 2  # of the newest, whatever else goes: should one of them not hold

_log: Final = structlog.get_logger(__name__)


class StartGone(Exception):  # noqa: N818 - an answer: there is nothing to start from
    """The log's first events were dropped, and no snapshot that this release can use stands where it begins now."""

    def __init__(self, floor: int) -> None:
        """Say what to do; `floor` is the index after which the log is kept."""
        super().__init__(
            f"the log is kept after index {floor} only, and there is no snapshot that this release can begin from. "
            "After an upgrade: run the release before this one until it has made a snapshot, and upgrade one release "
            "at a time. Otherwise restore the tables heroctl.snapshots and heroctl.snapshot_rows from a backup."
        )
        self.floor = floor


def gone_start(errors: BaseExceptionGroup) -> StartGone | None:
    """Find it among what ended a process, which then has nothing to say but that."""
    found: BaseException | None = errors.subgroup(StartGone)
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found if isinstance(found, StartGone) else None


class Snapshots:
    """Those of one log. Every method raises LogUnavailable when their shelf or the log cannot be reached."""

    def __init__(self, shelf: Shelf, log: Log) -> None:
        self._shelf = shelf
        self._log = log

    async def listed(self) -> list[Snapshot]:
        """Give the verified ones, newest first; of other releases and other histories, too."""
        return await self._shelf.listed()

    async def due(self) -> list[int]:
        """Name the ends of partitions that have passed without a snapshot that this release reads, oldest first."""
        return await self._shelf.due(_readable())

    async def load(self, at_most: int | None = None) -> tuple[State, Position] | None:
        """Give the state of the newest that holds, of those at most at an index, and where it stands.

        None: there is none; fold the log from its start. The state is the caller's own.
        """
        for snapshot in await self._shelf.listed():
            if (at_most is not None and snapshot.index > at_most) or snapshot.format not in _readable():
                continue
            try:
                state = await self._fitting(snapshot)
            except Newer as error:
                _log.warning("snapshot_passed_over", index=snapshot.index, snapshot=snapshot.id, reason=str(error))
                continue
            except Unreadable as error:
                await self._refuse(snapshot, error)
                continue
            _log.info("snapshot_loaded", index=snapshot.index, release=snapshot.release, bytes=snapshot.size)
            return state, snapshot.position
        return None

    async def keep(self, state: State, position: Position, release: str) -> Snapshot:
        """Write a snapshot of a state. It is not listed before `verify` found it true."""
        writing = Writing(state, position, release)
        snapshot = begun(position, state.incarnation, (FORMAT, release, state.time))
        await self._shelf.add(snapshot)
        for number, row in enumerate(writing):
            await self._shelf.put(snapshot.id, number, row)
        await self._shelf.close(snapshot.id, writing.size, writing.hash)
        return replace(snapshot, size=writing.size, hash=writing.hash)

    async def verify(self, snapshot: Snapshot) -> State:
        """Read one back, compare, and let it count; return its state. Raises Unreadable, and then it is refused.

        Compared are the hash, and the bytes that its state would be written as: they prove that nothing was left out.
        """
        try:
            state = await self.read(snapshot)
            _compare(state, snapshot)
        except Unreadable as error:
            await self._refuse(snapshot, error)
            raise
        await self._shelf.verify(snapshot.id)
        return state

    async def read(self, snapshot: Snapshot) -> State:
        """Give the state of one. Raises Unreadable where its bytes are not those that were written, Newer too."""
        reading = Reading()
        async for row in self._shelf.rows(snapshot.id):
            reading.feed(row)
        state = reading.end()
        if reading.position != snapshot.position or reading.hash != snapshot.hash:
            raise Unreadable("it is not the one that was written down")
        return state

    async def forget(self, below: int) -> int:
        """Remove those below an index, but for the newest two; return how many. What is of no use goes as well.

        Whoever drops a partition [first, stop) needs one at its end to stand; `below` is then that one's index.
        """
        await self._shelf.sweep()
        gone = [snapshot.id for snapshot in (await self._shelf.listed())[_KEPT:] if snapshot.index < below]
        await self._shelf.remove(gone)
        return len(gone)

    async def _fitting(self, snapshot: Snapshot) -> State:
        if not await continues(self._log, snapshot.position):
            raise Unreadable("the log does not go on from it: it is of another history, or what followed is gone")
        return await self.read(snapshot)

    async def _refuse(self, snapshot: Snapshot, error: Unreadable) -> None:
        _log.error("snapshot_refused", index=snapshot.index, snapshot=snapshot.id, reason=str(error))
        await self._shelf.refuse(snapshot.id, str(error))


def _readable() -> set[int]:
    return {FORMAT, *UPGRADES}


def _compare(state: State, snapshot: Snapshot) -> None:
    again = Writing(state, snapshot.position, snapshot.release)
    for _ in again:
        pass
    if again.hash != snapshot.hash:
        raise Unreadable("what was read back would be written otherwise")
