"""Makes the snapshots that are due: one at the end of each partition that has passed.

It is a process of its own, `python -m eventstore snapshot`: a fold and its bytes keep a processor busy for seconds, and
a second state in memory; nobody who serves can spare that. It takes what the machine leaves, and a lock, so that there
is one of it in the whole cluster. Killed at any moment it leaves rows that do not count, and go after a day.

A snapshot is folded from the one before, so that the log is read once. It counts when it was read back from the
database, and its bytes and what its state would be written as hash to the same. From then on that state is folded
further: should anything have been lost, it is this process that finds an event it cannot fold, and not one that serves.
"""

from __future__ import annotations

import asyncio
import os
import time
from importlib.metadata import version
from typing import Final

import psycopg
import structlog

from eventstore.database import Database
from eventstore.log import Compacted, Log, LogUnavailable, OtherHistory, Position
from eventstore.postgres import PostgresLog
from eventstore.shelf import PostgresShelf
from eventstore.snapshot import Unreadable
from eventstore.snapshots import Snapshot, Snapshots
from eventstore.tail import Tail
from eventstore.view import fold
from heroctl import logs
from heroctl.domain.events import release_level
from heroctl.domain.state import State

LONGEST: Final = 3600.0  # seconds that one run may take
_NICENESS: Final = 10
_LOCK: Final = 0x48657243736E  # any number, the same in every release
_TAKE: Final = "SELECT pg_try_advisory_lock(%s)"

_log: Final = structlog.get_logger(__name__)


class Unsound(Exception):  # noqa: N818 - an answer: leave it to a newer release
    """An event could not be folded: a state that lacks it must not be kept."""


class Maker:
    """Makes snapshots of a log, going forward: each from the state of the one before."""

    def __init__(self, log: Log, snapshots: Snapshots, release: str) -> None:
        self._log = log
        self._snapshots = snapshots
        self._release = release
        self._state = State()
        self._position = Position()

    async def run(self) -> list[Snapshot]:
        """Make all that are due, oldest first; one that the log does not reach back to any more is left out.

        Raises Unsound, Unreadable (what was read back was not what had been written), OtherHistory or LogUnavailable.
        """
        await self._snapshots.forget(0)  # what earlier runs left behind
        made = []
        for end in await self._snapshots.due():
            began = time.monotonic()
            try:
                snapshot = await self.make(end)
            except Compacted as error:
                _log.error("snapshot_impossible", index=end, reason=str(error))
                continue
            seconds = round(time.monotonic() - began, 3)
            _log.info("snapshot_made", index=end, snapshot=snapshot.id, bytes=snapshot.size, seconds=seconds)
            made.append(snapshot)
        return made

    async def make(self, end: int) -> Snapshot:
        """Make the snapshot at the end of the append that holds an event."""
        await self._approach(end)
        tail = Tail(self._log, self._position)
        async for records in tail.pages(end):
            failed = fold(self._state, records)[1]
            self._position = tail.position
            if failed is not None or self._state.level > release_level():
                raise Unsound(f"event {failed or self._state.index} cannot be folded by this release")
        kept = await self._snapshots.keep(self._state, self._position, self._release)
        self._state = State()  # one is enough
        self._state = await self._snapshots.verify(kept)
        return kept

    async def _approach(self, end: int) -> None:
        """Begin from a snapshot, where one is nearer than what was folded last."""
        known = await self._snapshots.listed()
        if any(self._position.index < snapshot.index <= end for snapshot in known):
            self._state, self._position = State(), Position()
            self._state, self._position = await self._snapshots.load(end) or (State(), Position())


def run(dsn: str) -> int:
    """Make what is due, as the process that it is; return the exit code: 1 if something could not be made."""
    os.nice(_NICENESS)
    logs.configure("info")  # among the lines of the process that began it
    try:
        return asyncio.run(_run(dsn))
    except (LogUnavailable, OtherHistory, Unreadable, Unsound, TimeoutError, psycopg.Error) as error:
        _log.error("snapshot_failed", error=type(error).__name__, reason=str(error))
        return 1


async def _run(dsn: str) -> int:
    async with asyncio.timeout(LONGEST), Database(dsn, connections=1) as database:
        connection = await database.connect(direct=True)
        async with connection:
            if not await _alone(connection):
                _log.info("snapshot_busy")
                return 0
            log = PostgresLog(database)
            await Maker(log, Snapshots(PostgresShelf(database), log), version("heroctl")).run()
            return 0


async def _alone(connection: psycopg.AsyncConnection) -> bool:
    row = await (await connection.execute(_TAKE, [_LOCK])).fetchone()
    return bool(row and row[0])
