"""A cluster's log as a witness: every state there ever was, and whether anything is still being written."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import psycopg

from eventstore.database import Database
from eventstore.postgres import PostgresLog
from heroctl.domain.events import Record
from heroctl.domain.evolve import evolve
from heroctl.domain.records import Alloc
from heroctl.domain.state import State
from tests.waiting import until

T = TypeVar("T")


def replay(dsn: str, look: Callable[[State], T], *, after: int = 0) -> list[T]:
    """Fold the log and look at the state after each whole append beyond an index; return what was seen, in order."""
    return asyncio.run(_replay(dsn, look, after))


def records(dsn: str, *, after: int = 0) -> list[Record]:
    """Return all that was written after an index, in order."""
    return asyncio.run(_records(dsn, after))


async def _records(dsn: str, after: int) -> list[Record]:
    async with Database(dsn, connections=1) as database:
        pages = PostgresLog(database, queue=1, patience=1, partition=1).read(after)
        return [record async for page in pages for record in page]


async def _replay(dsn: str, look: Callable[[State], T], after: int) -> list[T]:
    state, seen = State(), []
    async with Database(dsn, connections=1) as database:
        async for records in PostgresLog(database, queue=1, patience=1, partition=1).read(0):
            for record in records:
                evolve(state, record)
                if record.index == record.last and record.index > after:
                    seen.append(look(state))
    return seen


def of_job(state: State, job: str) -> Iterable[Alloc]:
    """Give the allocations of the job of this name in the namespace `default`, oldest first."""
    found = state.job("default", job)
    return state.allocs_of(found.uid) if found else ()


def healthy(state: State, job: str) -> int:
    """Count a job's allocations that run, are healthy and are not asked to stop."""
    return sum(alloc.live and alloc.phase == "running" and alloc.health == "healthy" for alloc in of_job(state, job))


def cluster_id(dsn: str) -> str:
    """Return the cluster's name for itself, which its containers are labelled with."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT data FROM heroctl.events WHERE index = 1").fetchone()
    assert row is not None
    return str(json.loads(row[0])["cluster"])


def head(dsn: str) -> int:
    """Return the index of the last event."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT index FROM heroctl.head").fetchone()
    assert row is not None
    return int(row[0])


def wait_quiet(dsn: str, *, still: float = 2, within: float = 30) -> int:
    """Wait until nothing has been written for `still` seconds: the plan is empty. Return the head."""
    seen, since = head(dsn), time.monotonic()

    with psycopg.connect(dsn, autocommit=True) as connection:

        def stands() -> bool:
            nonlocal seen, since
            row = connection.execute("SELECT index FROM heroctl.head").fetchone()
            assert row is not None
            if row[0] != seen:
                seen, since = int(row[0]), time.monotonic()
            return time.monotonic() - since >= still

        until(stands, timeout=within, what=f"{still:g} s without a new event")
    return seen
