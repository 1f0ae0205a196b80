"""The log in Postgres."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, cast
from uuid import UUID

import psycopg
import structlog
from psycopg import AsyncConnection

from eventstore import codec
from eventstore.appender import Answer, Appender
from eventstore.arrays import Bigints, Blobs, Integers, Texts
from eventstore.codec import Sealed
from eventstore.database import CALL, Database, lost, temporary
from eventstore.listener import Listener
from eventstore.log import (
    KEY_LIFE,
    PAGE,
    Append,
    Appended,
    Compacted,
    Conflicted,
    Displaced,
    Fenced,
    Head,
    Key,
    KeyReused,
    LogUnavailable,
    Rejected,
    Row,
)
from eventstore.migrate import PARTITION, new_incarnation
from heroctl.domain.events import IncarnationDrawn, Record, encode

_APPEND: Final = b"SELECT * FROM heroctl.append(" + b", ".join([b"%b"] * 20) + b")"
_RECALL: Final = """
    SELECT first, last, body = %b FROM heroctl.keys
    WHERE key = %b AND at > floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint - %b::bigint"""
_HEAD: Final = "SELECT index, epoch, incarnation, chain, time, level FROM heroctl.head"
# Up to the end of the append that holds the page's last place, or the place where it has grown too large; to the end
# of the log where there is neither. (A length is read without what it is the length of.)
_PAGE: Final = """
    SELECT index, last, time, tag, schema, meta, data, chain FROM heroctl.events
    WHERE index > %b AND index <= coalesce((
            SELECT e.last FROM heroctl.events e WHERE e.index = least(%b::bigint + %b::bigint, (
                SELECT s.index FROM (
                    SELECT m.index, sum(octet_length(m.data)) OVER (ORDER BY m.index) AS size FROM heroctl.events m
                    WHERE m.index > %b::bigint AND m.index <= %b::bigint + %b::bigint) AS s
                WHERE s.size >= 16777216 ORDER BY s.index LIMIT 1))),
        9223372036854775807) AND heroctl.kept(%b)
    ORDER BY index"""
_COMPACTED: Final = "22HC1"  # the SQLSTATE that `kept` raises, of the class of bad data
_FOREIGN: Final = b"SELECT incarnation FROM heroctl.head WHERE origin <> heroctl.origin()"
_FORGOTTEN: Final = 10_000  # batches, and keys, at a time
_HOUSEKEEPING, _AGAIN = 60.0, 5.0  # seconds between rounds, and after one that failed

_log: Final = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def open_log(
    database: Database, *, queue: int = 4096, patience: float = 10.0, partition: int = PARTITION
) -> AsyncIterator[PostgresLog]:
    """Open the log of an open database and run its tasks. The database must be migrated.

    `queue`: appends that may wait, `patience`: seconds that one may wait, `partition`: events in each new partition.
    A task that ends by a bug cancels the body and comes out of here as an ExceptionGroup.
    """
    log = PostgresLog(database, queue=queue, patience=patience, partition=partition)
    failure: Exception | None = None
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(work()) for work in log.works()]
        try:
            yield log
        except Exception as error:  # noqa: BLE001 - the user's own: not for the group, which would wrap it
            failure = error
        finally:
            for task in running:
                task.cancel()
    if failure is not None:
        raise failure


class PostgresLog:
    """The log in Postgres; see Log. Made by `open_log`, or without its tasks by those who only read."""

    def __init__(
        self, database: Database, *, queue: int = 4096, patience: float = 10.0, partition: int = PARTITION
    ) -> None:
        self.database = database
        self._line = _Line(database)
        self._appender = Appender(self._line, self._heard, queue=queue, patience=patience)
        self._listener = Listener(lambda: database.connect(direct=True), self._greet, self._notify)
        self._partition = partition
        self._due = 0  # the index at which partitions are to be made
        self._housekeep = asyncio.Event()

    @property
    def proven(self) -> bool:
        """Whether notifications are known to arrive; else the log is looked at every 250 ms."""
        return self._listener.proven

    def works(self) -> tuple[Any, ...]:
        """Give what must run for ever beside the log's callers."""
        return self._append, self._listener.run, self._keep

    async def append(self, append: Append) -> Appended:
        """See Log.append."""
        return await self._appender.append(codec.seal(append))

    async def recall(self, key: Key) -> Appended | None:
        """See Log.recall."""
        for first, last, same in await self.database.fetch(_RECALL, [key.body, key.name, KEY_LIFE]):
            if not same:
                raise KeyReused
            return Appended(first, last, replayed=True)
        return None

    async def head(self) -> Head:
        """See Log.head."""
        [row] = await self.database.fetch(_HEAD)
        return Head(*row)

    async def page(self, after: int, events: int = PAGE) -> list[Row]:
        """See Log.page."""
        try:
            return cast(
                "list[Row]", await self.database.fetch(_PAGE, [after, after, events, after, after, events, after])
            )
        except psycopg.DataError as error:
            if error.sqlstate != _COMPACTED:
                raise
            raise Compacted(int(error.diag.message_detail or 0)) from None

    async def read(self, after: int) -> AsyncIterator[list[Record]]:
        """See Log.read."""
        while rows := await self.page(after):
            after = rows[-1][0]
            yield list(codec.records(rows))

    def wakes(self) -> AsyncIterator[int]:
        """See Log.wakes."""
        return self._listener.bell.wakes()

    async def redraw(self, held: str, reason: str) -> None:
        """See Log.redraw."""
        await self.database.fetch(*_redraw(held, reason))

    def _heard(self, index: int) -> None:
        self._listener.bell.ring(index)
        if index >= self._due:
            self._housekeep.set()

    async def _append(self) -> None:
        try:
            await self._appender.run()
        finally:
            await self._line.close()

    async def _greet(self, connection: AsyncConnection) -> None:
        """Draw a new incarnation when the log lives on another server than before: it may have lost its end."""
        for (held,) in await (await connection.execute(_FOREIGN)).fetchall():
            _log.warning("another_server", incarnation=held)
            await connection.execute(*_redraw(held, "another server"))

    async def _notify(self, channel: str) -> None:
        await self.database.fetch("SELECT pg_notify(%b, '')", [channel])

    async def _forget(self) -> None:
        for prune in ("SELECT heroctl.prune_batches(%b::bigint)", "SELECT heroctl.prune_keys(%b::bigint)"):
            while await self.database.fetch(prune, [_FORGOTTEN]) == [(_FORGOTTEN,)]:
                pass

    async def _keep(self) -> None:
        """Make partitions ahead, when the head passes half of one; forget old batches and keys."""
        while True:
            self._housekeep.clear()
            try:
                [(self._due,)] = await self.database.fetch("SELECT heroctl.make_partitions(%b)", [self._partition])
                await self._forget()
            except LogUnavailable as error:
                _log.error("housekeeping_failed", error=str(error), partitions_due=self._due)
                await asyncio.sleep(_AGAIN * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HOUSEKEEPING * random.uniform(0.8, 1.2)):  # noqa: S311 - jitter
                    await self._housekeep.wait()


class _Line:
    """The appender's own connection."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: AsyncConnection | None = None

    async def ready(self) -> None:
        """See Sender.ready."""
        if self._connection is None or self._connection.closed:
            try:
                self._connection = await self._database.connect()
            except psycopg.Error as error:
                raise LogUnavailable(str(error)) from error

    async def send(self, batch: UUID, appends: Sequence[Sealed]) -> list[Answer]:
        """See Sender.send."""
        assert self._connection is not None  # noqa: S101 - `ready` came before
        try:
            async with asyncio.timeout(CALL):
                cursor = await self._connection.execute(
                    _APPEND, _parameters(batch, appends), prepare=self._database.prepare, binary=True
                )
                row = await cursor.fetchone()
        except TimeoutError:
            await self.close()
            raise LogUnavailable("the database does not answer", unknown=True) from None
        except psycopg.Error as error:
            if lost(error):
                await self.close()
            if lost(error) or temporary(error) or _unprepared(error):
                raise LogUnavailable(str(error), unknown=lost(error)) from error
            raise Rejected(str(error)) from error
        return _answers(appends, cast("_Result", row))

    async def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None


def _unprepared(error: psycopg.Error) -> bool:
    """Tell whether the head has come to where no partition is yet: the server says so as of a check without a name."""
    return isinstance(error, psycopg.errors.CheckViolation) and error.diag.constraint_name is None


_Result = tuple[int, list[int], list[int], list[int]]  # epoch, firsts, expectations, lasts
# What stands in the place of an expectation's number: the key has been seen, the log never was where the view stood.
_KEY, _STRANGE = -1, -2


def _parameters(batch: UUID, appends: Sequence[Sealed]) -> list[object]:
    events = [event for each in appends for event in each.events]
    moves = [(number, stream) for number, each in enumerate(appends, 1) for stream in each.append.moves]
    expects = [(number, *expect) for number, each in enumerate(appends, 1) for expect in each.append.expects]
    keys = [(number, each.append.key) for number, each in enumerate(appends, 1) if each.append.key is not None]
    stood = dict.fromkeys(each.append.view for each in appends if each.append.view is not None)
    views = {view: number for number, view in enumerate(stood, 1)}
    return [
        batch,
        Bigints([-1 if each.append.epoch is None else each.append.epoch for each in appends]),
        Integers([len(each.events) for each in appends]),
        Blobs([each.meta for each in appends]),
        Blobs([each.digest for each in appends]),
        Integers([number for number, each in enumerate(appends, 1) for _ in each.events]),
        Texts([tag for tag, _, _ in events]),
        Integers([schema for _, schema, _ in events]),
        Blobs([data for _, _, data in events]),
        Integers([move[0] for move in moves]),
        Texts([move[1] for move in moves]),
        Integers([expect[0] for expect in expects]),
        Texts([expect[1] for expect in expects]),
        Bigints([expect[2] for expect in expects]),
        Integers([number for number, _ in keys]),
        Blobs([key.name for _, key in keys]),
        Blobs([key.body for _, key in keys]),
        Integers([0 if each.append.view is None else views[each.append.view] for each in appends]),
        Bigints([view.index for view in views]),
        Blobs([view.chain for view in views]),
    ]


def _answers(appends: Sequence[Sealed], result: _Result) -> list[Answer]:
    epoch, firsts, failed, lasts = result
    streams = [stream for each in appends for stream, _ in each.append.expects]
    answers: list[Answer] = []
    for first, expect, last in zip(firsts, failed, lasts, strict=True):
        if first:
            answers.append(Appended(first, last, replayed=expect == _KEY))
        elif expect == _KEY:
            answers.append(KeyReused())
        elif expect == _STRANGE:
            answers.append(Displaced())
        elif expect:
            answers.append(Conflicted(streams[expect - 1], last))
        else:
            answers.append(Fenced(epoch))
    return answers


def _redraw(held: str, reason: str) -> tuple[str, list[object]]:
    incarnation = new_incarnation()
    tag, schema, data = encode(IncarnationDrawn(incarnation, reason))
    return "SELECT heroctl.redraw(%b, %b, %b, %b::integer, %b)", [held, incarnation, tag, schema, data]
