"""What is durable and no event: the lease, members, beats and the vault, in memory and in Postgres alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from eventstore.beats import Beat, Beats, MemoryBeats, PostgresBeats
from eventstore.database import Database
from eventstore.lease import TTL, Keeper, Leases, MemoryLeases, PostgresLeases
from eventstore.level import Levels, MemoryLevels, PostgresLevels
from eventstore.log import Fenced, Log, LogUnavailable
from eventstore.members import Members, MemoryMembers, PostgresMembers, Present
from eventstore.memory import MemoryLog
from eventstore.postgres import open_log
from eventstore.vault import MemoryVault, PostgresVault, Vault
from heroctl.domain.events import CoordinatorElected, LevelRaised
from heroctl.domain.records import Member
from tests.eventstore.fastloop import elapse, run
from tests.eventstore.samples import decision, everything


@dataclass
class Clock:
    """A clock for the rows in memory; the database has its own, and `pass_` shifts what it wrote."""

    now: float = 1_000.0
    database: Database | None = None

    def __call__(self) -> float:
        return self.now

    async def pass_(self, seconds: float) -> None:
        """Let time pass for rows."""
        self.now += seconds
        if self.database is not None:
            for table, column in (("lease", "expires"), ("members", "seen"), ("vault", "created_at")):
                shift = f"UPDATE heroctl.{table} SET {column} = {column} - %b::float8 * interval '1 second'"
                await self.database.fetch(shift, [seconds])


@dataclass
class Rows:
    """All kinds of rows beside one log."""

    log: Log
    leases: Leases
    members: Members
    beats: Beats
    vault: Vault
    levels: Levels
    clock: Clock = field(default_factory=Clock)


@pytest.fixture(params=["memory", "postgres"])
async def rows(request: pytest.FixtureRequest) -> AsyncIterator[Rows]:
    """Rows of each kind."""
    if request.param == "memory":
        log, clock = MemoryLog(), Clock()
        vault = MemoryVault(clock)
        yield Rows(log, MemoryLeases(log, clock), MemoryMembers(clock), MemoryBeats(), vault, MemoryLevels(log), clock)
        return
    async with Database(request.getfixturevalue("dsn")) as base, open_log(base) as store:
        yield Rows(
            store,
            PostgresLeases(base),
            PostgresMembers(base),
            PostgresBeats(base),
            PostgresVault(base),
            PostgresLevels(base),
            Clock(database=base),
        )


# ── the lease ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_first_candidate_is_elected(rows: Rows) -> None:
    """Lease, epoch and event are one: the event stands in the log under the new epoch."""
    assert await rows.leases.take("a", TTL) == 1
    standing = await rows.leases.look("b", TTL)
    assert (standing.lease.holder, standing.lease.epoch) == ("a", 1)
    assert TTL - 1 < standing.lease.remaining <= TTL
    head = await rows.log.head()
    [event] = [record.event for record in await everything(rows.log, 1)]
    assert (event, head.epoch) == (CoordinatorElected("a", 1), 1)


async def test_nobody_takes_a_lease_that_is_held(rows: Rows) -> None:
    await rows.leases.take("a", TTL)
    head = await rows.log.head()
    assert await rows.leases.take("b", TTL) is None
    assert await rows.log.head() == head


async def test_lease_that_ran_out_is_taken_over_and_its_holder_fenced(rows: Rows) -> None:
    await rows.leases.take("a", TTL)
    await rows.clock.pass_(TTL + 1)
    assert (await rows.leases.look("a", TTL)).lease.remaining <= 0
    assert await rows.leases.take("b", TTL) == 2
    with pytest.raises(Fenced):
        await rows.log.append(decision(1))
    await rows.log.append(decision(2))


async def test_looking_renews_ones_own(rows: Rows) -> None:
    await rows.leases.take("a", TTL)
    await rows.clock.pass_(10)
    assert (await rows.leases.look("b", TTL)).lease.remaining < 6
    assert (await rows.leases.look("a", TTL)).lease.remaining > 14


async def test_holder_may_be_elected_anew(rows: Rows) -> None:
    """Its own earlier epoch is fenced then, as after an append of which nobody knows what became."""
    assert await rows.leases.take("a", TTL) == 1
    assert await rows.leases.take("a", TTL) == 2
    with pytest.raises(Fenced):
        await rows.log.append(decision(1))


async def test_only_the_holder_hands_over(rows: Rows) -> None:
    await rows.leases.take("a", TTL)
    assert await rows.leases.take("c", TTL, by="b") is None
    assert await rows.leases.take("b", TTL, by="a") == 2
    assert await rows.leases.take("c", TTL, by="a") is None
    assert (await rows.leases.look("b", TTL)).lease.holder == "b"


async def test_released_lease_is_free(rows: Rows) -> None:
    await rows.leases.take("a", TTL)
    await rows.leases.release("b")
    assert await rows.leases.take("b", TTL) is None
    await rows.leases.release("a")
    assert await rows.leases.take("b", TTL) == 2


async def test_of_many_candidates_one_is_elected(rows: Rows) -> None:
    elected = await asyncio.gather(*(rows.leases.take(str(n), TTL) for n in range(8)))
    assert [epoch for epoch in elected if epoch] == [1]
    assert (await rows.log.head()).index == 2


async def test_keeper_takes_renews_and_hands_over(rows: Rows) -> None:
    a, b = (Keeper(rows.leases, name, clock=rows.clock) for name in "ab")
    assert a.epoch() is None
    assert await a.attempt() == pytest.approx(TTL / 3)
    assert 0 < await b.attempt() <= TTL / 3
    assert (a.epoch(), b.epoch()) == (1, None)
    await rows.clock.pass_(TTL / 3)
    await a.attempt()
    await rows.clock.pass_(TTL - 1)
    assert a.epoch() == 1
    assert await a.transfer("b")
    assert a.epoch() is None
    await b.attempt()
    await a.attempt()
    assert (a.epoch(), b.epoch()) == (None, 2)
    assert not await a.transfer("a")


async def test_keeper_trusts_no_longer_than_the_lease_lasts(rows: Rows) -> None:
    """Counted from the start of the attempt, without asking anybody."""
    keeper = Keeper(rows.leases, "a", clock=rows.clock)
    await keeper.attempt()
    rows.clock.now += TTL - 0.01
    assert keeper.epoch() == 1
    rows.clock.now += 0.02
    assert keeper.epoch() is None


async def test_keeper_that_lost_its_certainty_is_elected_anew(rows: Rows) -> None:
    keeper = Keeper(rows.leases, "a", clock=rows.clock)
    await keeper.attempt()
    keeper.lose()
    assert keeper.epoch() is None
    await keeper.attempt()
    assert keeper.epoch() == 2
    await keeper.attempt()
    assert keeper.epoch() == 2


async def test_keeper_knows_the_databases_time(rows: Rows) -> None:
    keeper = Keeper(rows.leases, "a", clock=rows.clock)
    with pytest.raises(RuntimeError):
        keeper.now()
    await keeper.attempt()
    now = (await rows.leases.look("a", TTL)).now
    assert keeper.now() == pytest.approx(now, abs=5_000)
    before = keeper.now()
    rows.clock.now += 2
    assert keeper.now() - before == pytest.approx(2_000, abs=1)


def test_keepers_follow_one_another() -> None:
    """Whoever holds it renews; when it stops, another has it soon after the lease's end, and at once when released."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        log = MemoryLog()
        leases = MemoryLeases(log, loop.time)
        a, b = (Keeper(leases, name, clock=loop.time) for name in "ab")
        first = asyncio.ensure_future(a.run())
        await asyncio.sleep(0)
        second = asyncio.ensure_future(b.run())
        await elapse(100)
        assert (a.epoch(), b.epoch(), log.epoch) == (1, None, 1)
        first.cancel()
        await elapse(TTL / 3)
        assert b.epoch() is None
        await elapse(TTL * 2 / 3 + 0.5)
        assert b.epoch() == 2
        assert a.epoch() is None
        log.away = True
        await elapse(TTL + 1)
        assert b.epoch() is None
        log.away = False
        await elapse(TTL / 3)
        assert b.epoch() == 3
        second.cancel()
        await asyncio.wait({first, second})

    run(main)


async def test_a_lease_that_ran_out_tells_what_its_holder_had_in_hand(rows: Rows) -> None:
    """Under its own epoch only, and not once it was given up."""
    await rows.leases.take("a", TTL)
    assert await rows.leases.hold("a", 1, 7)
    assert not await rows.leases.hold("b", 1, 8)
    assert not await rows.leases.hold("a", 2, 8)
    assert (await rows.leases.look("b", TTL)).lease.holder == "a"
    await rows.clock.pass_(TTL + 1)
    assert not await rows.leases.hold("a", 1, 8)
    standing = await rows.leases.look("b", TTL)
    assert (standing.lease.holder, standing.hand) == ("a", 7)
    await rows.leases.take("b", TTL)
    await rows.clock.pass_(TTL + 1)
    assert (await rows.leases.look("c", TTL)).hand == 0, "b died before it had anything in hand"


async def test_keeper_inherits_from_the_dead(rows: Rows) -> None:
    a, b, c = (Keeper(rows.leases, name, clock=rows.clock) for name in "abc")
    assert not await a.hold(7)
    await a.attempt()
    assert a.inherited is None, "there was nobody before"
    assert await a.hold(7)
    await rows.clock.pass_(TTL + 1)
    await b.attempt()
    assert (b.epoch(), b.inherited) == (2, 7)
    await b.attempt()
    assert b.inherited == 7
    assert await b.hold(9)
    await b.release()
    await c.attempt()
    assert (c.epoch(), c.inherited) == (3, None), "b did not die"
    await rows.clock.pass_(TTL + 1)
    await b.attempt()
    assert (b.epoch(), b.inherited) == (4, 0), "c died, and had nothing in hand"
    assert await b.transfer("a")
    await a.attempt()
    assert (a.epoch(), a.inherited) == (5, None)
    await rows.clock.pass_(TTL + 1)
    await a.attempt()
    assert (a.epoch(), a.inherited) == (6, None), "it was late, and lives"


async def test_keeper_that_is_not_fit_gives_way(rows: Rows) -> None:
    fit = True
    a, b = Keeper(rows.leases, "a", clock=rows.clock, fit=lambda: fit), Keeper(rows.leases, "b", clock=rows.clock)
    await a.attempt()
    fit = False
    await a.attempt()
    assert a.epoch() is None
    await b.attempt()
    assert b.epoch() == 2
    await b.release()
    await a.attempt()
    assert (a.epoch(), (await rows.leases.look("c", TTL)).lease.remaining > 0) == (None, False)


# ── the level ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_level_rises_with_its_event(rows: Rows) -> None:
    """By the coordinator, from where it saw it, and never back."""
    epoch = await rows.leases.take("a", TTL) or 0
    assert (await rows.log.head()).level == 1
    assert await rows.levels.raise_to(3, 1, epoch)
    head = await rows.log.head()
    assert head.level == 3
    refused = [(4, 1, epoch), (3, 3, epoch), (2, 3, epoch), (4, 3, epoch + 1)]
    assert [await rows.levels.raise_to(*each) for each in refused] == [False] * len(refused)
    assert await rows.log.head() == head
    assert [record.event for record in await everything(rows.log, 2)] == [LevelRaised(3)]


# ── members ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_members_live_for_fifteen_seconds(rows: Rows) -> None:
    a, b = (Member(name, "api", f"127.0.0.1:{name}", "0.1.0") for name in "ab")
    await rows.members.renew(Present(b, level=2, index=7))
    await rows.members.renew(Present(a))
    assert [(each.member, each.level, each.index) for each in await rows.members.live()] == [(a, 1, 0), (b, 2, 7)]
    await rows.clock.pass_(10)
    await rows.members.renew(Present(a, index=9))
    await rows.clock.pass_(10)
    [present] = await rows.members.live()
    assert (present.member, present.index) == (a, 9)
    assert present.seconds == pytest.approx(10, abs=2)


async def test_member_says_goodbye(rows: Rows) -> None:
    await rows.members.renew(Present(Member("a", "api", "x", "")))
    await rows.members.leave("a")
    await rows.members.leave("a")
    assert await rows.members.live() == []


# ── beats ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_newest_beat_stands(rows: Rows) -> None:
    """A later number wins, of a later session always; what comes late changes nothing."""
    await rows.beats.write({"n1": Beat(5, 1), "n2": Beat(5, 9, applied=3)})
    await rows.beats.write({"n1": Beat(5, 2, applied=0), "n2": Beat(5, 8)})
    assert await rows.beats.read() == {"n1": Beat(5, 2, 0), "n2": Beat(5, 9, 3)}
    await rows.beats.write({"n1": Beat(5, 3, skew=-(1 << 40))})
    assert (await rows.beats.read())["n1"] == Beat(5, 3, None, -(1 << 40))
    await rows.beats.write({"n2": Beat(6, 1)})
    await rows.beats.write({"n2": Beat(5, 10)})
    await rows.beats.write({})
    assert (await rows.beats.read())["n2"] == Beat(6, 1)


async def test_beats_of_nodes_that_are_no_more(rows: Rows) -> None:
    await rows.beats.write({"n1": Beat(5, 1), "n2": Beat(5, 9)})
    await rows.beats.forget(["n1", "n3"])
    assert (await rows.beats.read()).keys() == {"n2"}


async def test_apis_write_the_same_nodes_at_once(rows: Rows) -> None:
    """They never wait for each other in a circle."""
    nodes = [f"n{n}" for n in range(50)]
    both = (nodes, nodes[::-1])
    await asyncio.gather(*(rows.beats.write({node: Beat(1, n) for node in both[n % 2]}) for n in range(20)))
    assert set((await rows.beats.read()).values()) == {Beat(1, 19)}


# ── the vault ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_vault_keeps_bytes(rows: Rows) -> None:
    one, two = [await rows.vault.put("token", data) for data in (b"\0one\xff", b"two")]
    assert one != two
    assert await rows.vault.get(one) == b"\0one\xff"
    assert await rows.vault.get("nothing") is None
    await rows.vault.delete([one, "nothing"])
    assert await rows.vault.get(one) is None
    assert await rows.vault.get(two) == b"two"


async def test_known_row_is_written_once(rows: Rows) -> None:
    """Of all who begin at the same time, everybody gets the same bytes."""
    kept = await asyncio.gather(*(rows.vault.keep("key", "signing_key", bytes([n])) for n in range(8)))
    assert len(set(kept)) == 1
    assert await rows.vault.keep("key", "signing_key", b"later") == kept[0]


async def test_old_rows_are_named(rows: Rows) -> None:
    old = sorted([await rows.vault.put(kind, b"old") for kind in ("token", "node")])
    await rows.vault.keep("key", "signing_key", b"old")
    await rows.clock.pass_(3_700)
    await rows.vault.put("token", b"new")
    assert await rows.vault.older(3_600, ("token", "node")) == old
    assert await rows.vault.older(3_600, ("token", "node"), after=old[0]) == old[1:]
    assert await rows.vault.older(3_600, ("password",)) == []


async def test_old_rows_are_named_by_the_thousand(rows: Rows) -> None:
    ids = [f"{n:04}" for n in range(1_100)]
    await asyncio.gather(*(rows.vault.keep(identity, "token", b"") for identity in ids))
    await rows.clock.pass_(10)
    first = await rows.vault.older(5, ("token",))
    assert first + await rows.vault.older(5, ("token",), after=first[-1]) == ids
    assert len(first) == 1_000


async def test_rows_are_away_with_the_log() -> None:
    log = MemoryLog()
    log.away = True
    with pytest.raises(LogUnavailable):
        await MemoryLeases(log).look("a", TTL)
