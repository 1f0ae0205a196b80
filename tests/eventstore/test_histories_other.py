"""A database that comes back as an older copy of itself, the same server and timeline: noticed, and named anew once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from msgspec.structs import replace
from psycopg import sql

from eventstore.log import Displaced
from eventstore.postgres import PostgresLog
from eventstore.view import View
from heroctl.domain.events import IncarnationDrawn
from tests.eventstore.conftest import opened
from tests.eventstore.samples import everything, intent, numbers, verified
from tests.waiting import eventually

PROCESSES = 3


class Copy:
    """A copy of a database as it was; `restore` puts another copy of it in the place of the database."""

    def __init__(self, server: psycopg.Connection, database: str) -> None:
        self._server = server
        self._database = sql.Identifier(database)
        self._name = sql.Identifier(f"{database}_old")
        self._do("CREATE DATABASE {1} TEMPLATE {0}")

    def restore(self) -> None:
        """Bring it back, under everybody's hands."""
        self._do("ALTER DATABASE {0} ALLOW_CONNECTIONS false")
        self._do("DROP DATABASE {0} WITH (FORCE)")
        self._do("CREATE DATABASE {0} TEMPLATE {1}")

    def drop(self) -> None:
        """Leave nothing behind."""
        self._do("DROP DATABASE {1} WITH (FORCE)")

    def _do(self, statement: str) -> None:
        self._server.execute(sql.SQL(statement).format(self._database, self._name))


@pytest.fixture
def copy(postgres_server: str, dsn: str) -> Iterator[Copy]:
    """A copy of the test's own database, empty but for the log's first event."""
    with psycopg.connect(postgres_server, autocommit=True) as server:
        made = Copy(server, dsn.rpartition("/")[2])
        yield made
        made.drop()


@contextlib.asynccontextmanager
async def processes(dsn: str) -> AsyncIterator[list[tuple[PostgresLog, View]]]:
    """Several processes that follow one log."""
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for _ in range(PROCESSES):
            log = await stack.enter_async_context(opened(dsn, patience=30))
            made.append((log, View(log)))
        following = [asyncio.ensure_future(view.run()) for _, view in made]
        try:
            yield made
        finally:
            for task in following:
                task.cancel()
            await asyncio.wait(following)


async def together(all_of_them: list[tuple[PostgresLog, View]], *, beside: str = "") -> str:
    """Wait until all stand at the same end, under one name that is another; return it."""

    def agree() -> bool:
        ends = {(view.index, view.state.incarnation, view.started) for _, view in all_of_them}
        [(_, name, started), *others] = ends
        return started and not others and name != beside

    await eventually(agree, timeout=30)
    return all_of_them[0][1].state.incarnation


async def drawn(log: PostgresLog) -> list[str]:
    """List the names that were drawn."""
    return [one.event.incarnation for one in await everything(log) if isinstance(one.event, IncarnationDrawn)]


async def grow(all_of_them: list[tuple[PostgresLog, View]], events: int) -> None:
    """Append through all, and wait until all have read it."""
    appends = [all_of_them[number % PROCESSES][0].append(intent(number)) for number in range(events)]
    end = max(place.last for place in await asyncio.gather(*appends))
    assert all([await view.reached(end, 10) for _, view in all_of_them])


async def test_an_older_copy_is_named_anew_once(dsn: str, copy: Copy) -> None:
    async with processes(dsn) as there:
        first = await together(there)
        await grow(there, 10)
        await asyncio.to_thread(copy.restore)
        second = await together(there, beside=first)
        [(log, view), *_] = there
        assert await drawn(log) == [second]
        assert view.index == 2
        await grow(there, 5)
        await verified(log)


async def test_the_same_copy_again_gets_a_name_of_its_own(dsn: str, copy: Copy) -> None:
    """It comes back under its old name, from before the second was drawn, and would go on where the first one went."""
    async with processes(dsn) as there:
        names = [await together(there)]
        for _ in range(2):
            await grow(there, 10)
            await asyncio.to_thread(copy.restore)
            await eventually(lambda: all(view.index == 2 for _, view in there), timeout=30)
            names.append(await together(there, beside=names[-1]))
            assert await drawn(there[0][0]) == [names[-1]]
        assert len(set(names)) == 3


@contextlib.asynccontextmanager
async def taken_away(dsn: str, copy: Copy, others: int) -> AsyncIterator[tuple[PostgresLog, View]]:
    """A view that does not follow, and stands on what only the lost history had; others have gone on since."""
    async with opened(dsn, patience=30) as log:
        view = View(log)
        for number in range(3):
            await log.append(intent(number, stream="a:1"))
        await view.catch_up()
        await asyncio.to_thread(copy.restore)
        for number in range(others):
            await log.append(intent(100 + number))
        yield log, view


@pytest.mark.parametrize("others", [0, 3, 9], ids=["a shorter log", "one as long", "a longer one"])
async def test_what_was_decided_on_a_lost_state_is_refused(dsn: str, copy: Copy, others: int) -> None:
    """Nobody has noticed yet. Whoever is told so looks, and may decide on what there is."""
    async with taken_away(dsn, copy, others) as (log, view):
        held = view.state.incarnation
        with pytest.raises(Displaced):
            await log.append(replace(intent(7, stream="a:1", seen=view.index), view=view.position))
        await view.doubt()
        assert view.state.incarnation == (await log.head()).incarnation != held
        await log.append(replace(intent(8, stream="a:1", seen=view.index), view=view.position))
        assert await numbers(log) == [*range(100, 100 + others), 8]
        await verified(log)


async def test_without_its_place_it_would_be_taken(dsn: str, copy: Copy) -> None:
    """The control: no stream has moved, so that nothing else tells."""
    async with taken_away(dsn, copy, 3) as (log, view):
        await log.append(intent(7, stream="a:1", seen=view.index))
        assert 7 in await numbers(log)
