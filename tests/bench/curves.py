"""The log's curves: throughput and latency against the number of callers, with and without what the log does.

`python -m tests.bench --only log-curves [--doc FILE]` prints them, and writes a page with a chart beside it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import statistics
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Final
from uuid import uuid4

import psycopg
import uvloop
from msgspec import Struct
from psycopg import AsyncConnection

from eventstore import codec
from eventstore.database import Database
from eventstore.log import Appended
from eventstore.postgres import PostgresLog, _Line, open_log
from heroctl.domain.events import encode
from tests.bench import chart, rows
from tests.bench.appends import callers
from tests.bench.store import EVENTS, STREAMS, Lines, Store, store

NAME: Final = "log-curves"
_CALLERS: Final = (1, 4, 16, 64, 256)
_ROUNDS: Final = 3
_SECONDS: Final = 1.2
_TAILED: Final = 16  # callers beside whom a tail reads by index
_TAIL_SECONDS: Final = 4.0

Say = Callable[[str], None]
Call = Callable[[], Awaitable[None]]


class Point(Struct, frozen=True):
    """What so many callers got: appends a second, and milliseconds of a call."""

    variant: str
    callers: int
    rate: float
    p50: float
    p99: float


class Loss(Struct, frozen=True):
    """How many committed events a tail by index never saw."""

    variant: str
    missed: int
    written: int


VARIANTS: Final = {
    "batched": "the log: head first, group commit",
    "unbatched": "the log, each caller alone",
    "head first": "bare: head row locked first",
    "head last": "bare: head row updated last",
    "sequence": "bare: no head row, a sequence (loses events)",
}

_TABLES: Final = {"sequence": "sequenced", "head first": "events"}

# The same append in three ways, without chain, keys and batches: one stream expected and moved, one event, one NOTIFY.
_BARE: Final = """
    CREATE SCHEMA curve;
    CREATE TABLE curve.head (one boolean PRIMARY KEY, index bigint NOT NULL) WITH (fillfactor = 10);
    INSERT INTO curve.head VALUES (true, 0);
    CREATE SEQUENCE curve.places;
    CREATE TABLE curve.events (index bigint PRIMARY KEY, tag text NOT NULL, data bytea NOT NULL);
    CREATE TABLE curve.sequenced (LIKE curve.events INCLUDING ALL);
    CREATE TABLE curve.streams (name text COLLATE "C" PRIMARY KEY, last bigint NOT NULL) WITH (fillfactor = 70);
    INSERT INTO curve.streams SELECT name, 0 FROM heroctl.streams;
    CREATE FUNCTION curve.head_first(p_stream text, p_seen bigint, p_tag text, p_data bytea) RETURNS bigint
    LANGUAGE plpgsql SET search_path = curve SET enable_seqscan = off AS $$
    DECLARE v_index bigint;
    BEGIN
        SELECT h.index + 1 INTO STRICT v_index FROM head h FOR UPDATE;
        IF (SELECT s.last FROM streams s WHERE s.name = p_stream) > p_seen THEN RETURN 0; END IF;
        INSERT INTO events VALUES (v_index, p_tag, p_data);
        UPDATE streams SET last = v_index WHERE name = p_stream;
        UPDATE head SET index = v_index;
        PERFORM pg_notify('curve', v_index::text);
        RETURN v_index;
    END $$;
    CREATE FUNCTION curve.head_last(p_stream text, p_seen bigint, p_tag text, p_data bytea) RETURNS bigint
    LANGUAGE plpgsql SET search_path = curve SET enable_seqscan = off AS $$
    DECLARE v_index bigint;
    BEGIN
        IF (SELECT s.last FROM streams s WHERE s.name = p_stream FOR UPDATE) > p_seen THEN RETURN 0; END IF;
        UPDATE head SET index = index + 1 RETURNING index INTO v_index;
        INSERT INTO events VALUES (v_index, p_tag, p_data);
        UPDATE streams SET last = v_index WHERE name = p_stream;
        PERFORM pg_notify('curve', v_index::text);
        RETURN v_index;
    END $$;
    CREATE FUNCTION curve.sequence(p_stream text, p_seen bigint, p_tag text, p_data bytea) RETURNS bigint
    LANGUAGE plpgsql SET search_path = curve SET enable_seqscan = off AS $$
    DECLARE v_index bigint;
    BEGIN
        IF (SELECT s.last FROM streams s WHERE s.name = p_stream FOR UPDATE) > p_seen THEN RETURN 0; END IF;
        v_index := nextval('places');
        INSERT INTO sequenced VALUES (v_index, p_tag, p_data);
        UPDATE streams SET last = v_index WHERE name = p_stream;
        PERFORM pg_notify('curve', v_index::text);
        RETURN v_index;
    END $$"""


def main(doc: str, date: str, say: Say) -> int:
    """Measure, print the table, and write the page and its chart where they are wanted."""
    machine = rows.machine()
    with store() as there:
        points, losses = uvloop.run(_run(there, say))
    print(_table(points))
    if doc:
        file, day = Path(doc), date or dt.datetime.now(dt.UTC).date().isoformat()
        picture = file.with_suffix(".svg")
        picture.write_text(chart.draw([(VARIANTS[p.variant], p.callers, p.rate, p.p99) for p in points]))
        file.write_text(_page(points, losses, picture.name, day, machine))
    return 0


async def _run(there: Store, say: Say) -> tuple[list[Point], list[Loss]]:
    with psycopg.connect(there.dsn, autocommit=True) as connection:
        connection.execute(_BARE)
    async with Database(there.dsn) as database, open_log(database) as log:
        lines = [_Line(database) for _ in range(max(_CALLERS))]
        try:
            for line in lines:
                await line.ready()
            calls = _calls(there, log, lines)
            points = [point for number in _CALLERS for point in await _points(calls, number, say)]
            losses = [await _loss(there, calls, variant, say) for variant in _TABLES]
        finally:
            for line in lines:
                await line.close()
    return points, losses


def _calls(there: Store, log: PostgresLog, lines: list[_Line]) -> dict[str, list[Call]]:
    """Give the callers of each variant; each has a share of the streams to itself, so nobody conflicts."""
    shares = [Lines(there, share, 2 * len(lines)) for share in range(2 * len(lines))]
    names = sorted(there.past.streams)
    tag, _, data = encode(there.event)

    def batched(own: Lines) -> Call:
        async def call() -> None:
            append = own.append()
            own.moved(append, (await log.append(append)).last)

        return call

    def alone(line: _Line, own: Lines) -> Call:
        async def call() -> None:
            append = own.append()
            [answer] = await line.send(uuid4(), [codec.seal(append)])
            assert isinstance(answer, Appended), answer
            own.moved(append, answer.last)

        return call

    def bare(line: _Line, function: str, share: int) -> Call:
        query = f"SELECT curve.{function}(%b, 9223372036854775807, %b, %b)".encode()
        streams = names[share :: len(lines)]
        turn = count()

        async def call() -> None:
            assert line._connection is not None
            values = [streams[next(turn) % len(streams)], tag, data]
            cursor = await line._connection.execute(query, values, prepare=True, binary=True)
            [(index,)] = await cursor.fetchall()
            assert index > 0

        return call

    return {
        "batched": [batched(own) for own in shares[: len(lines)]],
        "unbatched": [alone(line, own) for line, own in zip(lines, shares[len(lines) :], strict=True)],
        "head first": [bare(line, "head_first", share) for share, line in enumerate(lines)],
        "head last": [bare(line, "head_last", share) for share, line in enumerate(lines)],
        "sequence": [bare(line, "sequence", share) for share, line in enumerate(lines)],
    }


async def _points(calls: dict[str, list[Call]], number: int, say: Say) -> list[Point]:
    """Measure every variant with so many callers, in rounds, after one that is not counted."""
    rates: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    times: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for round_ in range(-1, _ROUNDS):
        for variant in VARIANTS:
            took: list[float] = []
            rate = await callers(calls[variant][:number], _SECONDS, took)
            if round_ >= 0:
                rates[variant].append(rate)
                times[variant] += took
    points = []
    for variant in VARIANTS:
        took = sorted(times[variant])
        middle = statistics.median(rates[variant])
        points.append(Point(variant, number, middle, took[len(took) // 2], took[len(took) * 99 // 100]))
        say(f"{number} callers, {variant}: {middle:,.0f}/s, p99 {points[-1].p99:.1f} ms")
    return points


async def _loss(there: Store, calls: dict[str, list[Call]], variant: str, say: Say) -> Loss:
    """Let some write and one tail by the greatest index it has seen; count what it never saw."""
    query = f"SELECT index FROM curve.{_TABLES[variant]} WHERE index > %s ORDER BY index"
    async with await AsyncConnection.connect(there.dsn, autocommit=True) as connection:
        await connection.execute(f"TRUNCATE curve.{_TABLES[variant]}")
        last = seen = 0
        writing = asyncio.create_task(callers(calls[variant][:_TAILED], _TAIL_SECONDS))
        finished = False
        while not finished:
            finished = writing.done()
            for (index,) in await (await connection.execute(query, [last])).fetchall():
                last, seen = index, seen + 1
        await writing
        [(written,)] = await (await connection.execute(f"SELECT count(*) FROM ({query}) AS e", [0])).fetchall()
    say(f"{variant}: a tail missed {written - seen:,} of {written:,}")
    return Loss(variant, written - seen, written)


def _table(points: list[Point]) -> str:
    """Write a row for each variant, with appends a second and p50 / p99 for each number of callers."""
    head = "| | " + " | ".join(f"{number} caller{'s'[: number - 1]}" for number in _CALLERS) + " |"
    lines = [head, "|---|" + "---:|" * len(_CALLERS)]
    for variant, words in VARIANTS.items():
        mine = [point for point in points if point.variant == variant]
        cells = [f"{p.rate:,.0f}/s, {rows.number(p.p50)} / {rows.number(p.p99)} ms" for p in mine]
        lines.append(f"| {words} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _page(points: list[Point], losses: list[Loss], picture: str, date: str, machine: str) -> str:
    lost = " ".join(f"{VARIANTS[each.variant]}: {each.missed:,} of {each.written:,} were missed." for each in losses)
    method = (
        f"Postgres with fsync on, a log of {EVENTS:,} events on more than {STREAMS:,} streams; callers are tasks of "
        "one process, which shares the machine with the database. Each call appends one event, expects one stream and "
        f"moves it. The cells are appends a second (median of {_ROUNDS} rounds of {_SECONDS} s, the variants "
        "interleaved, after a round that is not counted) and p50 / p99 of a call over all of these rounds. Without the "
        "group commit every caller has a connection of its own. The three bare ways are the smallest functions that do "
        "the same without chain, keys and batches, and differ in nothing but where the index comes from. "
        f"Loss: {_TAILED} callers for {_TAIL_SECONDS:.0f} s, and a tail that reads what is above the greatest index it "
        "has seen."
    )
    title = f"# The log's curves, {date}"
    image = f"![Appends a second, and the 99th percentile of a call, against callers]({picture})"
    return (
        "\n\n".join(
            [title, image, _table(points), f"## Loss\n{lost}", f"## Machine\n{machine}", f"## Method\n{method}"]
        )
        + "\n"
    )
