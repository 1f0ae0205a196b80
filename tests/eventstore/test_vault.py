"""One contract for the rows of the vault that are kept for long, in memory and in Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from eventstore.database import Database
from eventstore.migrate import migrate
from eventstore.vault import HANDFUL, MemoryVault, PostgresVault, Vault

Age = Callable[[float], Awaitable[None]]  # lets so many seconds pass


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Vault, Age]]:
    if request.param == "memory":
        now = 0.0

        async def pass_by(seconds: float) -> None:
            nonlocal now
            now += seconds

        yield MemoryVault(lambda: now), pass_by
        return
    dsn = request.getfixturevalue("postgres_dsn")
    migrate(dsn)
    async with Database(dsn) as database:

        async def age(seconds: float) -> None:
            move = "UPDATE heroctl.vault SET created_at = created_at - %b::float8 * interval '1 second'"
            await database.fetch(move, [seconds])

        yield PostgresVault(database), age


async def test_bytes_are_renewed_unless_somebody_was_faster(store: tuple[Vault, Age]) -> None:
    vault, age = store
    row = await vault.put("password", b"old")
    await vault.renew(row, b"other", b"new")
    assert await vault.get(row) == b"old"
    await age(100)
    await vault.renew(row, b"old", b"new")
    assert await vault.get(row) == b"new"
    assert await vault.older(99, ("password",)) == [row], "of its age and kind"
    await vault.renew("nothing", b"", b"new")
    assert await vault.get("nothing") is None


async def test_all_rows_of_a_kind_are_told_with_their_age(store: tuple[Vault, Age]) -> None:
    vault, age = store
    await vault.keep("key-1", "signing_key", b"one")
    await age(100)
    await vault.keep("key-2", "signing_key", b"two")
    await vault.put("token", b"other")
    old, new = await vault.all_of("signing_key")
    assert (old.id, old.data, new.id, new.data) == ("key-1", b"one", "key-2", b"two")
    assert new.age < 100 <= old.age
    assert await vault.all_of("nothing") == []


async def test_rows_that_begin_otherwise_are_given_a_handful_at_a_time(store: tuple[Vault, Age]) -> None:
    vault, _ = store
    for number in range(HANDFUL + 3):
        await vault.keep(f"row-{number:03}", "secret", b"old" if number else b"new, and more")
    await vault.keep("row-other", "token", b"old")
    first = await vault.unlike("secret", b"new")
    assert [row.id for row in first] == [f"row-{number:03}" for number in range(1, HANDFUL + 1)]
    assert {row.data for row in first} == {b"old"}
    assert [row.id for row in await vault.unlike("secret", b"new", first[-1].id)] == ["row-101", "row-102"]
    assert await vault.unlike("secret", b"new", "row-102") == []
    assert (await vault.count("secret"), await vault.count("secret", b"new")) == (HANDFUL + 3, HANDFUL + 2)
    await vault.keep("row-short", "secret", b"ne")
    assert [row.id for row in await vault.unlike("secret", b"new", "row-102")] == ["row-short"]
