"""By how much a process's clock is ahead of the database's: looked at with every renewal, and told with the next."""

from __future__ import annotations

import time

import pytest

from eventstore.database import Database
from eventstore.members import PostgresMembers, Present, skew
from eventstore.migrate import migrate
from heroctl.domain.records import Member


async def test_a_members_clock_is_told_by_how_much_it_is_ahead_of_the_databases(postgres_dsn: str) -> None:
    migrate(postgres_dsn)
    async with Database(postgres_dsn) as database:
        ahead = 7.0
        members = PostgresMembers(database, lambda: time.time() + ahead)
        me = Present(Member("a", "api", "x", ""))

        async def told() -> int | None:
            await members.renew(me)
            [present] = await members.live()
            return present.skew

        assert await told() is None, "it looks while it says that it lives"
        for expected in (7.0, 7.0, -90.0):
            assert await told() == pytest.approx(ahead * 1000, abs=1000)
            ahead = expected
            await told()


@pytest.mark.parametrize(
    ("began", "ended", "expected"),
    [
        (100.0, 100.5, 250),
        (99.0, 99.5, -750),
        (100.0, 101.0, 500),
        (100.0, 101.1, 42),  # it took too long to tell
        (100.0, 99.0, 42),  # the clock was set meanwhile
    ],
)
def test_a_skew_is_what_can_be_told_of_it(began: float, ended: float, expected: int) -> None:
    assert skew(began, ended, 100.0, 42) == expected
