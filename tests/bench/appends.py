"""How quickly appends are on disk: one caller, many callers, and whole batches, each beside what others do."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final
from uuid import uuid4

import uvloop
from msgspec.structs import replace
from psycopg import AsyncConnection

from eventstore import codec
from eventstore.arrays import Bigints, Blobs, Integers, Texts, register
from eventstore.database import Database
from eventstore.log import Appended, Key, Log, Position
from eventstore.postgres import _Line, open_log
from heroctl.domain.events import encode, encode_meta
from tests.bench import fill
from tests.bench.peer import Peer
from tests.bench.rows import Case, Gauge
from tests.bench.store import EVENTS, STREAMS, Lines, Store, store

_CALLERS: Final = 64
_BATCH: Final = 100
_READ: Final = 5  # streams that a batch expects
_ROUNDS: Final = 5
_SECONDS: Final = 1.2  # of each turn in a round

Say = Callable[[str], None]
Rate = Callable[[], Awaitable[float]]


def run(say: Say) -> dict[str, float]:
    """Give the medians of interleaved rounds, and of their ratios."""
    with store() as there:
        return uvloop.run(_run(there, say))


async def _run(there: Store, say: Say) -> dict[str, float]:
    async with Database(there.dsn) as database, open_log(database) as log:
        return {
            **await _single(there, log, say),
            **await _many(there, log, database, say),
            **await _batches(there, log, say),
        }


async def rounds(say: Say, **turns: Rate) -> dict[str, list[float]]:
    """Take turns, the first of each round another every time, after one round that is not counted."""
    names = list(turns)
    rates: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-1, _ROUNDS):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            rate = await turns[name]()
            if number >= 0:
                rates[name].append(rate)
    for name, seen in rates.items():
        say(f"{name}: {statistics.median(seen):,.0f} events/s [{min(seen):,.0f}..{max(seen):,.0f}]")
    return rates


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Give the median of the ratios of each round."""
    return statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))


async def _single(there: Store, log: Log, say: Say) -> dict[str, float]:
    lines = Lines(there)
    tag, _, data = encode(there.event)

    def peer(*, ordered: bool) -> Peer:
        return Peer(there.dsn, ordered=ordered, streams=STREAMS, events=EVENTS, payload=(tag, data))

    peers = {True: await asyncio.to_thread(peer, ordered=True), False: await asyncio.to_thread(peer, ordered=False)}
    rates = await rounds(
        say,
        single=lambda: callers([_caller(log, lines)], _SECONDS),
        eventsourcing=lambda: asyncio.to_thread(peers[True].rate, _SECONDS),
        eventsourcing_unordered=lambda: asyncio.to_thread(peers[False].rate, _SECONDS),
    )
    for each in peers.values():
        each.close()
    return {
        "append_single_ratio_eventsourcing": ratio(rates["single"], rates["eventsourcing"]),
        "append_single_ratio_unordered": ratio(rates["single"], rates["eventsourcing_unordered"]),
        "append_single_events_s": statistics.median(rates["single"]),
    }


def _caller(log: Log, lines: Lines) -> Callable[[], Awaitable[None]]:
    async def once() -> None:
        append = lines.append()
        lines.moved(append, (await log.append(append)).last)

    return once


async def callers(each: list[Callable[[], Awaitable[None]]], seconds: float, took: list[float] | None = None) -> float:
    """Let all of them call again and again for so long; give calls a second, and to `took` the ms of each call."""
    began = time.monotonic()
    end = began + seconds
    times: list[float] = [] if took is None else took
    before = len(times)

    async def work(call: Callable[[], Awaitable[None]]) -> None:
        while (start := time.monotonic()) < end:
            await call()
            times.append((time.monotonic() - start) * 1000)

    async with asyncio.TaskGroup() as tasks:
        for call in each:
            tasks.create_task(work(call))
    return (len(times) - before) / (time.monotonic() - began)


async def _many(there: Store, log: Log, database: Database, say: Say) -> dict[str, float]:
    lines = [Lines(there, share, 2 * _CALLERS) for share in range(2 * _CALLERS)]
    times: list[float] = []
    async with unbatched(database, lines[_CALLERS:]) as alone:
        together = [_caller(log, each) for each in lines[:_CALLERS]]
        rates = await rounds(
            say,
            together=lambda: callers(together, _SECONDS, times),
            unbatched=lambda: callers(alone, _SECONDS),
        )
    times.sort()
    return {
        "append_64_events_s": statistics.median(rates["together"]),
        "append_64_ratio_unbatched": ratio(rates["together"], rates["unbatched"]),
        "append_64_unbatched_events_s": statistics.median(rates["unbatched"]),
        "append_64_p50_ms": times[len(times) // 2],
        "append_64_p99_ms": times[len(times) * 99 // 100],
    }


@contextlib.asynccontextmanager
async def unbatched(database: Database, lines: list[Lines]) -> AsyncIterator[list[Callable[[], Awaitable[None]]]]:
    """Yield callers of the same append without the group: each has a connection, and one append a call."""
    connections = [_Line(database) for _ in lines]

    def caller(line: _Line, own: Lines) -> Callable[[], Awaitable[None]]:
        async def once() -> None:
            append = own.append()
            [answer] = await line.send(uuid4(), [codec.seal(append)])
            assert isinstance(answer, Appended), answer
            own.moved(append, answer.last)

        return once

    try:
        for line in connections:
            await line.ready()
        yield [caller(line, own) for line, own in zip(connections, lines, strict=True)]
    finally:
        for line in connections:
            await line.close()


async def _batches(there: Store, log: Log, say: Say) -> dict[str, float]:
    keyed, whole = Lines(there, 0, 2), Lines(there, 1, 2)
    head = await log.head()
    view = Position(head.index, head.chain)
    async with await AsyncConnection.connect(there.dsn, autocommit=True) as connection:
        register(connection)
        insert = await _inserter(connection, there)

        async def rate(call: Callable[[], Awaitable[None]]) -> float:
            return _BATCH * await callers([call], _SECONDS)

        rates = await rounds(
            say,
            batch100=lambda: rate(lambda: _whole(log, whole, view)),
            keyed=lambda: rate(lambda: _keyed(log, keyed)),
            insert=lambda: rate(insert),
        )
    return {
        "append_batch100_ratio_insert": ratio(rates["batch100"], rates["insert"]),
        "append_batch100_events_s": statistics.median(rates["batch100"]),
        "append_100_keyed_ratio_insert": ratio(rates["keyed"], rates["insert"]),
        "append_100_keyed_events_s": statistics.median(rates["keyed"]),
        "append_bare_insert_events_s": statistics.median(rates["insert"]),
    }


async def _keyed(log: Log, lines: Lines) -> None:
    """A hundred appends of one event at once, which go in one call; each has its stream, expectation and key."""
    appends = [replace(lines.append(), key=_key()) for _ in range(_BATCH)]
    answers = await asyncio.gather(*map(log.append, appends))
    for append, answer in zip(appends, answers, strict=True):
        lines.moved(append, answer.last)


async def _whole(log: Log, lines: Lines, view: Position) -> None:
    """One append of a hundred events, as a planner makes them, with expectations, a key and a place to be looked up."""
    read = [lines.append().expects[0] for _ in range(_READ - 1)]
    append = lines.append(_BATCH)
    append = replace(append, expects=(*append.expects, *read), key=_key(), view=view)
    lines.moved(append, (await log.append(append)).last)


def _key() -> Key:
    return Key(secrets.token_bytes(16), secrets.token_bytes(16))


async def _inserter(connection: AsyncConnection, there: Store) -> Callable[[], Awaitable[None]]:
    """Give what inserts the same rows into a table of the same shape, and nothing else, in a transaction each."""
    await connection.execute("CREATE TABLE bare (LIKE heroctl.events INCLUDING ALL)")
    await connection.execute("INSERT INTO bare SELECT * FROM heroctl.events WHERE index <= 100000")
    [(end,)] = await (await connection.execute("SELECT max(index) FROM bare")).fetchall()
    (tag, schema, data), meta, chain = encode(there.event), encode_meta(fill.META), secrets.token_bytes(32)
    at = end

    async def insert() -> None:
        nonlocal at
        first, at = at + 1, at + _BATCH
        columns = [
            Bigints(range(first, at + 1)),
            Bigints(range(first, at + 1)),
            Texts([tag] * _BATCH),
            Integers([schema] * _BATCH),
            Blobs([meta] * _BATCH),
            Blobs([data] * _BATCH),
            Blobs([chain] * _BATCH),
        ]
        await connection.execute(_INSERT, columns, prepare=True, binary=True)

    return insert


_INSERT: Final = """
    INSERT INTO bare (index, last, time, tag, schema, meta, data, chain)
    SELECT e.index, e.last, 1795368888212, e.tag, e.schema, e.meta, e.data, e.chain
    FROM unnest(%b, %b, %b, %b, %b, %b, %b) AS e(index, last, tag, schema, meta, data, chain)"""

CASE: Final = Case(
    gauges=(
        Gauge("append_single_ratio_eventsourcing", "ratio", at_least=1.2),
        Gauge("append_single_ratio_unordered", "ratio"),
        Gauge("append_single_events_s", "events/s"),
        Gauge("append_64_events_s", "events/s", at_least=15_000),
        Gauge("append_64_ratio_unbatched", "ratio", at_least=10),
        Gauge("append_64_unbatched_events_s", "events/s"),
        Gauge("append_64_p50_ms", "ms"),
        Gauge("append_64_p99_ms", "ms"),
        Gauge("append_batch100_ratio_insert", "ratio", at_least=0.6),
        Gauge("append_batch100_events_s", "events/s"),
        Gauge("append_100_keyed_ratio_insert", "ratio"),
        Gauge("append_100_keyed_events_s", "events/s"),
        Gauge("append_bare_insert_events_s", "events/s"),
    ),
    run=run,
    method=(
        f"A log of {EVENTS:,} events on more than {STREAMS:,} streams, fsync on. Every append of ours expects its "
        "stream where its writer left it, moves it, is chained and told to listeners. "
        "`append_single`: one caller, one event, one after the other, beside the recorder of the `eventsourcing` "
        "package on a table with as many events and streams: as it comes (under a table lock, so in order), and "
        "`unordered` with its database function, which takes no lock. "
        f"`append_64`: {_CALLERS} callers of one process with one event each, through the group commit, beside the "
        "same append called by each of them on a connection of its own. "
        f"`append_batch100`: one append of {_BATCH} events that expects {_READ} streams, has a key and names "
        "the place of a view that is behind, as a plan does; "
        f"`append_100_keyed`: {_BATCH} appends of one event, each with an expectation and a key, that come at once and "
        "go in one call; both beside an insert by "
        f"`unnest` of the same {_BATCH} rows into a table of the same shape, committed each time. "
        f"Medians of {_ROUNDS} rounds of {_SECONDS} s each, interleaved; ratios are medians of the rounds' ratios."
    ),
)
