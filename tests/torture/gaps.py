"""Writers that wait before their COMMIT and often roll back: `python -m tests.torture.gaps KIND DSN SECONDS SEED`.

They write to the log, or to a table numbered by a sequence: what a tail by number misses there, it must not miss here.
A writer prints how many of its rows were committed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple
from uuid import uuid4

import psycopg
from psycopg import AsyncConnection

from eventstore import codec
from eventstore.database import Database
from eventstore.log import Position
from eventstore.postgres import _APPEND, PostgresLog, _parameters
from tests.eventstore.samples import intent

Kind = Literal["log", "sequence"]
PROCESSES: Final = 4
EACH: Final = 4  # connections of a process
ROLLBACKS: Final = 0.3
LONGEST: Final = 0.005  # seconds between the write and its COMMIT
TABLE: Final = "CREATE TABLE numbered (id bigserial PRIMARY KEY)"
_NUMBERED: Final = "SELECT id FROM numbered WHERE id > %s ORDER BY id"


class Found(NamedTuple):
    """Rows that are there, that their writers know to be there, and that a tail saw while they came."""

    there: int
    committed: int
    seen: int


# ── writers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _write(kind: Kind, dsn: str, seconds: float, seed: int) -> int:
    chance, until, done = random.Random(seed), time.monotonic() + seconds, 0
    async with Database(dsn) as database, await database.connect() as connection:
        while time.monotonic() < until:
            with contextlib.suppress(psycopg.Rollback):
                async with connection.transaction():
                    rows = await _one(kind, connection, chance)
                    await connection.execute("SELECT pg_sleep(%s)", [chance.uniform(0, LONGEST)])
                    if chance.random() < ROLLBACKS:
                        raise psycopg.Rollback
                    done += rows
    return done


async def _one(kind: Kind, connection: AsyncConnection, chance: random.Random) -> int:
    if kind == "sequence":
        await connection.execute("INSERT INTO numbered DEFAULT VALUES")
        return 1
    events = range(chance.randint(1, 4))
    append = codec.seal(intent(*events, stream=f"job:{chance.randrange(50)}"))
    await connection.execute(_APPEND, _parameters(uuid4(), [append]), binary=True)
    return len(events)


async def main(kind: Kind, dsn: str, seconds: float, seed: int) -> None:
    """Write for so long on several connections; print how many rows were committed."""
    done = await asyncio.gather(*(_write(kind, dsn, seconds, seed * EACH + number) for number in range(EACH)))
    print(sum(done))


# ── the tail ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def follow_log(dsn: str, seconds: float) -> Found:
    """Follow the log while it is written, asserting number and chain at every step."""
    return asyncio.run(_follow_log(dsn, seconds))


async def _follow_log(dsn: str, seconds: float) -> Found:
    with _writers("log", dsn, seconds) as writers:
        async with Database(dsn, connections=1) as database:
            log, position, last = PostgresLog(database), Position(), False
            while not last:
                last = _over(writers)
                while rows := await log.page(position.index):
                    position = codec.verify(rows, position)
                await asyncio.sleep(0)
            head = await log.head()
    assert (head.index, head.chain) == (position.index, position.chain)
    return Found(head.index - 1, _committed(writers), position.index - 1)  # the first event is the log's own


def follow_sequence(dsn: str, seconds: float) -> Found:
    """Follow a table by its greatest number while it is written."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(TABLE)
        with _writers("sequence", dsn, seconds) as writers:
            greatest, seen, last = 0, 0, False
            while not last:
                last = _over(writers)
                for (number,) in connection.execute(_NUMBERED, [greatest]).fetchall():
                    greatest, seen = number, seen + 1
        return Found(len(connection.execute(_NUMBERED, [0]).fetchall()), _committed(writers), seen)


@contextlib.contextmanager
def _writers(kind: Kind, dsn: str, seconds: float) -> Iterator[list[subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "tests.torture.gaps", kind, dsn, str(seconds)]
    writers = [
        subprocess.Popen([*command, str(seed)], stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
        for seed in range(PROCESSES)
    ]
    try:
        yield writers
    finally:
        for writer in writers:
            if writer.poll() is None:
                writer.kill()


def _over(writers: list[subprocess.Popen[str]]) -> bool:
    return all(writer.poll() is not None for writer in writers)


def _committed(writers: list[subprocess.Popen[str]]) -> int:
    told = [writer.communicate(timeout=10)[0] for writer in writers]
    assert all(writer.returncode == 0 for writer in writers)
    return sum(map(int, told))


if __name__ == "__main__":
    _, what, where, how_long, which = sys.argv
    asyncio.run(main("log" if what == "log" else "sequence", where, float(how_long), int(which)))
