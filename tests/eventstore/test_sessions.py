"""One contract for sessions, in memory and in Postgres."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from eventstore.database import Database
from eventstore.migrate import migrate
from eventstore.sessions import GRACE, REMEMBERED, MemorySessions, PostgresSessions, Session, Sessions
from eventstore.vault import SIGNING_KEY, PostgresVault

Age = Callable[[float], Awaitable[None]]  # lets so many seconds pass


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Sessions, Age]]:
    if request.param == "memory":
        now = time.time()

        async def pass_by(seconds: float) -> None:
            nonlocal now
            now += seconds

        yield MemorySessions(lambda: now), pass_by
        return
    dsn = request.getfixturevalue("postgres_dsn")
    migrate(dsn)
    async with Database(dsn) as database:

        async def age(seconds: float) -> None:
            move = "UPDATE heroctl.sessions SET rotated_at = rotated_at - %b::float8 * interval '1 second', "
            await database.fetch(
                move + "expires_at = expires_at - %b::float8 * interval '1 second'", [seconds, seconds]
            )

        yield PostgresSessions(database), age


def session(name: str = "a", seconds: float = 1000) -> Session:
    return Session(name, "admin", "t1", time.time() + seconds)


async def test_the_newest_number_rotates(store: tuple[Sessions, Age]) -> None:
    sessions, _ = store
    begun = session()
    await sessions.open(begun)
    for number in range(3):
        rotated = await sessions.rotate("a", number)
        assert rotated is not None
        assert (rotated.user, rotated.token, rotated.number, rotated.revoked) == ("admin", "t1", number + 1, False)
        assert rotated.until == pytest.approx(begun.until, abs=0.01)
    assert (await sessions.standing()).revoked == frozenset()


async def test_the_one_before_is_repeated_within_its_grace(store: tuple[Sessions, Age]) -> None:
    sessions, age = store
    await sessions.open(session())
    await sessions.rotate("a", 0)
    await age(GRACE - 1)
    again = await sessions.rotate("a", 0)
    assert again is not None
    assert (again.number, again.revoked) == (1, False)
    await age(2)
    late = await sessions.rotate("a", 0)
    assert late is not None
    assert late.revoked


async def test_an_older_one_revokes(store: tuple[Sessions, Age]) -> None:
    sessions, _ = store
    await sessions.open(session())
    await sessions.open(session("b"))
    for number in (0, 1):
        await sessions.rotate("a", number)
    old = await sessions.rotate("a", 0)
    assert old is not None
    assert old.revoked
    assert (await sessions.standing()).revoked == {"a"}
    newest = await sessions.rotate("a", 2)
    assert newest is not None
    assert newest.revoked


async def test_what_was_lost_is_no_theft(store: tuple[Sessions, Age]) -> None:
    """After a lossy fail-over a client may hold a number that was given out and forgotten."""
    sessions, _ = store
    await sessions.open(session())
    rotated = await sessions.rotate("a", 5)
    assert rotated is not None
    assert (rotated.number, rotated.revoked) == (6, False)


async def test_revoking_is_told(store: tuple[Sessions, Age]) -> None:
    sessions, _ = store
    await sessions.open(session())
    await sessions.revoke("a")
    await sessions.revoke("none")
    assert (await sessions.standing()).revoked == {"a"}


async def test_what_is_over_or_unknown_is_none(store: tuple[Sessions, Age]) -> None:
    sessions, age = store
    await sessions.open(session(seconds=5))
    await age(6)
    assert await sessions.rotate("a", 0) is None
    assert await sessions.rotate("none", 0) is None


async def test_a_revoked_session_is_forgotten_when_it_would_have_ended(postgres_dsn: str) -> None:
    migrate(postgres_dsn)
    async with Database(postgres_dsn) as database:
        sessions = PostgresSessions(database)
        await sessions.open(session(seconds=-1))
        await sessions.revoke("a")
        await sessions.open(session("b"))
        assert (await sessions.standing()).revoked == frozenset()


async def test_a_revoked_session_is_remembered_as_long_as_a_token_of_it_may_live(store: tuple[Sessions, Age]) -> None:
    sessions, age = store
    await sessions.open(session("a", 30 * 24 * 3600))
    await sessions.revoke("a")
    await age(24 * 3600)
    await sessions.revoke("a")
    assert (await sessions.standing()).revoked == {"a"}
    await age(REMEMBERED - 24 * 3600 + 1)
    assert (await sessions.standing()).revoked == frozenset()
    assert await sessions.rotate("a", 0) is None


async def test_what_is_told_of_keys_changes_with_each_and_holds_none(postgres_dsn: str) -> None:
    migrate(postgres_dsn)
    async with Database(postgres_dsn) as database:
        sessions, vault = PostgresSessions(database), PostgresVault(database)
        await vault.put("password", b"another kind")
        assert (await sessions.standing()).keys == frozenset()
        await vault.keep("signing-key-1", SIGNING_KEY, b"one")
        first = (await sessions.standing()).keys
        assert first == (await sessions.standing()).keys
        await vault.keep("signing-key-2", SIGNING_KEY, b"two")
        assert first < (await sessions.standing()).keys
        assert not any("one" in word for word in first)
        await vault.delete(["signing-key-1", "signing-key-2"])
        await vault.keep("signing-key-1", SIGNING_KEY, b"anew")
        again = (await sessions.standing()).keys
        assert len(again) == 1
        assert again != first
