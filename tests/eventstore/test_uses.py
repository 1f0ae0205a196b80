"""When tokens were last used: rows in memory and in Postgres alike."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from eventstore.database import Database
from eventstore.uses import FORGOTTEN, MemoryUses, PostgresUses, Uses

NOW = 1_790_000_000_000


@pytest.fixture(params=["memory", "postgres"])
async def uses(request: pytest.FixtureRequest) -> AsyncIterator[Uses]:
    """Rows of each kind."""
    if request.param == "memory":
        yield MemoryUses()
        return
    async with Database(request.getfixturevalue("dsn")) as database:
        yield PostgresUses(database)


async def test_the_latest_use_counts_whoever_tells_it_last(uses: Uses) -> None:
    assert await uses.exchange({}, []) == {}
    assert await uses.exchange({"a": NOW, "b": NOW + 1}, ["a", "b"]) == {"a": NOW, "b": NOW + 1}
    assert await uses.exchange({"a": NOW - 5, "b": NOW + 9}, ["a", "b"]) == {"a": NOW, "b": NOW + 9}
    assert await uses.exchange({}, ["a", "b"]) == {"a": NOW, "b": NOW + 9}


async def test_rows_of_tokens_that_are_gone_go_in_a_day_and_no_others(dsn: str) -> None:
    async with Database(dsn) as database:
        uses = PostgresUses(database)
        [(now,)] = await database.fetch("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
        old = now - FORGOTTEN - 1000
        await uses.exchange({"kept": old, "gone": old, "new": now}, ["kept", "gone", "new"])
        await uses.exchange({}, ["kept"])
        assert set(await uses.exchange({}, ["kept"])) == {"kept", "new"}
