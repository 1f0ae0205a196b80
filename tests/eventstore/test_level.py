"""The log's level in Postgres: where it begins, and whom it waits for."""

from __future__ import annotations

import asyncio

import pytest

from eventstore.database import Database
from eventstore.lease import PostgresLeases
from eventstore.level import PostgresLevels
from eventstore.members import PostgresMembers, Present
from eventstore.migrate import migrate
from eventstore.postgres import PostgresLog
from heroctl.domain.events import ClusterCreated, LevelRaised
from heroctl.domain.records import Member
from tests.eventstore.samples import everything, verified
from tests.upgrade import tomorrow


async def test_a_new_log_begins_at_the_level_of_its_release(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tomorrow.learn(monkeypatch)
    for _ in range(2):
        await asyncio.to_thread(migrate, postgres_dsn)
    async with Database(postgres_dsn) as database:
        log = PostgresLog(database)
        created, raised = [record.event for record in await everything(log)]
        assert isinstance(created, ClusterCreated)
        assert raised == LevelRaised(tomorrow.LEVEL)
        assert ((await log.head()).level, (await verified(log)).index) == (tomorrow.LEVEL, 2)


async def test_a_log_that_was_there_keeps_its_level(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tomorrow.learn(monkeypatch)
    await asyncio.to_thread(migrate, dsn)
    async with Database(dsn) as database:
        head = await PostgresLog(database).head()
        assert (head.level, head.index) == (1, 1)


async def test_it_does_not_rise_above_one_that_has_just_come(postgres: PostgresLog) -> None:
    """Whatever the coordinator has read before: the members are looked at under the lock."""
    base = postgres.database
    members, levels = PostgresMembers(base), PostgresLevels(base)
    epoch = await PostgresLeases(base).take("a", 15) or 0
    await members.renew(Present(Member("new", "api", "x", "2"), level=2))
    await members.renew(Present(Member("old", "api", "x", "1"), level=1))
    assert not await levels.raise_to(2, 1, epoch)
    await base.fetch("UPDATE heroctl.members SET seen = seen - interval '16 seconds' WHERE id = 'old'")
    assert await levels.raise_to(2, 1, epoch)
    assert not await levels.raise_to(3, 2, epoch)
    assert (await postgres.head()).level == 2
