"""Coordination handed over: whole or not at all, to one who lives, and once for each key; in both stores alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from eventstore.database import Database
from eventstore.handover import FRESH, Handovers, MemoryHandovers, PostgresHandovers, Refused
from eventstore.lease import TTL, Leases, MemoryLeases, PostgresLeases
from eventstore.log import Append, Appended, Fenced, Key, KeyReused, Log
from eventstore.members import Members, MemoryMembers, PostgresMembers, Present
from eventstore.memory import MemoryLog
from eventstore.postgres import open_log
from heroctl.domain.events import CoordinatorElected, CoordinatorTransferred, JobStopped, Meta
from heroctl.domain.records import Member
from tests.eventstore.samples import decision, everything
from tests.eventstore.test_rows import Clock

META = Meta("user:admin", "req_1", "192.0.2.1")
KEY = Key(b"name", b"body")


@dataclass
class Rows:
    """A log, who holds its lease, and who lives."""

    log: Log
    leases: Leases
    members: Members
    handovers: Handovers
    clock: Clock

    async def lives(self, name: str, role: str = "reconciler", level: int = 1) -> None:
        await self.members.renew(Present(Member(name, role, "192.0.2.2", "1"), level))

    async def give(self, target: str, key: Key | None = None) -> Appended | Refused:
        return await self.handovers.hand_over(target, META, key)

    async def holder(self) -> tuple[str, int, int]:
        """Who holds the lease under which epoch, and that of the head row."""
        lease = (await self.leases.look("", 0.0)).lease
        return lease.holder, lease.epoch, (await self.log.head()).epoch


@pytest.fixture(params=["memory", "postgres"])
async def rows(request: pytest.FixtureRequest) -> AsyncIterator[Rows]:
    """Both kinds, with `a` that coordinates under epoch 1, and `b` that lives."""
    if request.param == "memory":
        log, clock = MemoryLog(), Clock()
        leases, members = MemoryLeases(log, clock), MemoryMembers(clock)
        made = Rows(log, leases, members, MemoryHandovers(log, leases, members), clock)
        await _begin(made)
        yield made
        return
    async with Database(request.getfixturevalue("dsn")) as base, open_log(base) as store:
        made = Rows(store, PostgresLeases(base), PostgresMembers(base), PostgresHandovers(base), Clock(database=base))
        await _begin(made)
        yield made


async def _begin(rows: Rows) -> None:
    assert await rows.leases.take("a", TTL) == 1
    await rows.lives("b")


async def test_lease_epoch_and_events_are_one_and_the_old_coordinator_is_fenced(rows: Rows) -> None:
    before = await rows.log.head()
    assert await rows.give("b") == Appended(before.index + 1, before.index + 2)
    assert await rows.holder() == ("b", 2, 2)
    told = await everything(rows.log, before.index)
    assert [record.event for record in told] == [CoordinatorTransferred("a", "b"), CoordinatorElected("b", 2)]
    assert {record.last for record in told} == {before.index + 2}, "one append"
    assert {record.meta for record in told} == {META}
    with pytest.raises(Fenced):
        await rows.log.append(decision(1))
    await rows.log.append(decision(2))


@pytest.mark.parametrize("why", ["an api", "too old", "unknown", "silent"])
async def test_only_who_can_coordinate_is_given_it(rows: Rows, why: str) -> None:
    await rows.lives("an api", "api")
    await rows.lives("too old", level=0)
    await rows.lives("silent")
    await rows.clock.pass_(FRESH + 0.5)
    await rows.lives("an api", "api")
    await rows.lives("too old", level=0)
    head = await rows.log.head()
    assert await rows.give(why) == Refused("gone")
    assert (await rows.holder(), await rows.log.head()) == (("a", 1, 1), head)


async def test_who_has_it_already_is_not_elected_again(rows: Rows) -> None:
    await rows.lives("a")
    head = await rows.log.head()
    assert await rows.give("a") == Refused("held")
    assert await rows.log.head() == head


@pytest.mark.parametrize("how", ["ran out", "given up"])
async def test_where_nobody_coordinates_there_is_nothing_to_hand_over(rows: Rows, how: str) -> None:
    if how == "ran out":
        await rows.clock.pass_(TTL + 1)
        await rows.lives("b")
    else:
        await rows.leases.release("a")
    assert await rows.give("b") == Refused("vacant")
    assert (await rows.log.head()).epoch == 1


async def test_asked_again_under_its_key_it_is_done_once(rows: Rows) -> None:
    first = await rows.give("b", KEY)
    assert isinstance(first, Appended)
    head = await rows.log.head()
    assert await rows.give("b", KEY) == Appended(first.first, first.last, replayed=True)
    assert await rows.give("c", KEY) == Appended(first.first, first.last, replayed=True), "a key is judged by its body"
    with pytest.raises(KeyReused):
        await rows.give("b", Key(b"name", b"other"))
    assert await rows.log.head() == head


async def test_a_refusal_leaves_no_key(rows: Rows) -> None:
    assert await rows.give("c", KEY) == Refused("gone")
    await rows.lives("c")
    assert isinstance(await rows.give("c", KEY), Appended)


async def test_of_many_that_ask_at_once_each_is_one_election(rows: Rows) -> None:
    """Whatever their order: the lease, the head row and the last election name one coordinator."""
    await rows.lives("a")
    answers = await asyncio.gather(*(rows.give(name) for name in ("a", "b") * 4))
    done = [answer for answer in answers if isinstance(answer, Appended)]
    held = [answer for answer in answers if isinstance(answer, Refused)]
    assert {answer.why for answer in held} <= {"held", "moved"}
    holder, epoch, of_head = await rows.holder()
    elected = [record.event for record in await everything(rows.log, 2) if isinstance(record.event, CoordinatorElected)]
    assert epoch == of_head == 1 + len(done)
    assert [event.epoch for event in elected] == list(range(2, epoch + 1))
    assert elected[-1].holder == holder


async def test_decisions_beside_it_stand_before_it_or_not_at_all(rows: Rows) -> None:
    """Each is acknowledged and in the log, or fenced and not: none after the election of another."""

    async def decide(number: int) -> int:
        """Return the index it got; 0: it was fenced."""
        try:
            return (await rows.log.append(Append((JobStopped(number, "default", "decided"),), epoch=1))).last
        except Fenced:
            return 0

    async def give() -> int:
        given = await rows.give("b")
        assert isinstance(given, Appended)
        return given.last

    answers = await asyncio.gather(*map(decide, range(1, 21)), give(), *map(decide, range(21, 41)))
    elected, acknowledged = answers[20], [at for at in (*answers[:20], *answers[21:]) if at]
    records = await everything(rows.log, 1)
    assert [record.index for record in records if isinstance(record.event, JobStopped)] == sorted(acknowledged)
    assert all(at < elected for at in acknowledged)
