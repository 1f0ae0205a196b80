"""Snapshots on a shelf: which one a process begins with, and that none is believed which should not be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from eventstore import snapshot as form
from eventstore.log import Append, LogUnavailable, Position
from eventstore.memory import MemoryLog
from eventstore.postgres import PostgresLog
from eventstore.shelf import MemoryShelf, PostgresShelf, Shelf
from eventstore.snapshot import Unreadable
from eventstore.snapshots import Snapshot, Snapshots, StartGone
from eventstore.tail import Tail
from eventstore.view import View, fold
from heroctl.domain.events import MemberJoined
from heroctl.domain.state import State
from tests.eventstore.conftest import Store


@dataclass
class Kept:
    """A log, and what is kept of it."""

    log: Any
    shelf: Shelf
    snapshots: Snapshots
    epoch: int

    async def grow(self, *names: str) -> int:
        """Append a member each; give the log's end."""
        for name in names:
            await self.log.append(Append((MemberJoined(name, "api", "a"),), epoch=self.epoch))
        return int((await self.log.head()).index)

    async def folded(self, until: int | None = None) -> tuple[State, Position]:
        """Fold the log."""
        state, tail = State(), Tail(self.log)
        async for records in tail.pages(until):
            fold(state, records)
        return state, tail.position

    async def keep(self, until: int | None = None) -> Snapshot:
        """Keep a verified snapshot."""
        kept = await self.snapshots.keep(*await self.folded(until), "0.1.0")
        await self.snapshots.verify(kept)
        return kept


@pytest.fixture
async def kept(store: Store) -> Kept:
    """A shelf of each kind, beside its log of six events or more."""
    shelf: Shelf = PostgresShelf(store.log.database) if isinstance(store.log, PostgresLog) else MemoryShelf()
    made = Kept(store.log, shelf, Snapshots(shelf, store.log), await store.elect())
    await made.grow(*"abcde")
    return made


# ── the shelf ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_gives_back_what_was_kept(kept: Kept) -> None:
    made = await kept.keep()
    [listed] = await kept.snapshots.listed()
    assert listed == replace(made, made_at=listed.made_at)
    assert abs(listed.made_at - made.made_at) < 60_000
    assert await kept.snapshots.load() == await kept.folded()


async def test_is_not_listed_before_it_was_verified(kept: Kept) -> None:
    made = await kept.snapshots.keep(*await kept.folded(), "0.1.0")
    assert await kept.snapshots.listed() == []
    assert await kept.snapshots.load() is None
    await kept.snapshots.verify(made)
    assert await kept.snapshots.load() is not None


async def test_newest_first_and_no_newer_than_asked(kept: Kept) -> None:
    first, second = await kept.keep(3), await kept.keep()
    assert [each.index for each in await kept.snapshots.listed()] == [second.index, first.index]
    assert (await kept.snapshots.load() or [None, None])[1] == second.position
    assert await kept.snapshots.load(second.index - 1) == await kept.folded(3)
    assert await kept.snapshots.load(2) is None


async def test_forgets_what_is_below_but_for_the_newest_two(kept: Kept) -> None:
    made = [await kept.keep(index) for index in (2, 3, 4, 5)]
    assert await kept.snapshots.forget(4) == 2
    assert [each.index for each in await kept.snapshots.listed()] == [5, 4]
    assert await kept.snapshots.forget(100) == 0
    assert [row async for row in kept.shelf.rows(made[0].id)] == [] if isinstance(kept.shelf, PostgresShelf) else True


# ── refused ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _rewrite(kept: Kept, made: Snapshot, rows: list[bytes]) -> None:
    """Change the rows of one, as a broken disk or a hand would."""
    if isinstance(kept.shelf, MemoryShelf):
        kept.shelf.kept[made.id].rows = rows
        return
    await kept.log.database.fetch("DELETE FROM heroctl.snapshot_rows WHERE snapshot = %b::uuid", [made.id])
    for number, row in enumerate(rows):
        await kept.shelf.put(made.id, number, row)


async def test_a_damaged_one_is_refused_and_the_older_one_serves(kept: Kept) -> None:
    await kept.keep(3)
    made = await kept.keep()
    rows = [row async for row in kept.shelf.rows(made.id)]
    await _rewrite(kept, made, [rows[0][:-40] + b"\0" * 40, *rows[1:]])
    with capture_logs() as logs:
        assert await kept.snapshots.load() == await kept.folded(3)
    [refused] = [each for each in logs if each["event"] == "snapshot_refused"]
    assert (refused["index"], refused["log_level"]) == (made.index, "error")
    assert [each.index for each in await kept.snapshots.listed()] == [3], "it is not tried again"


async def test_one_without_its_rows_is_refused(kept: Kept) -> None:
    made = await kept.keep()
    await _rewrite(kept, made, [])
    assert await kept.snapshots.load() is None
    assert await kept.snapshots.listed() == []


async def test_anothers_rows_are_refused(kept: Kept) -> None:
    """Whole and true, but not what was written down here."""
    older, made = await kept.keep(3), await kept.keep()
    await _rewrite(kept, made, [row async for row in kept.shelf.rows(older.id)])
    found = await kept.snapshots.load()
    assert found is not None
    assert found[1] == older.position


async def test_a_newer_format_is_left_to_newer_releases(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not read and not refused: whoever wrote it goes on using it."""
    await kept.keep(3)
    with monkeypatch.context() as newer:
        newer.setattr("eventstore.snapshot.FORMAT", form.FORMAT + 1)
        newer.setattr("eventstore.snapshots.FORMAT", form.FORMAT + 1)
        made = await kept.keep()
    assert await kept.snapshots.load() == await kept.folded(3)
    assert [each.index for each in await kept.snapshots.listed()] == [made.index, 3]


async def test_fields_of_a_newer_release_are_left_to_newer_releases(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the same format: an older process that starts meanwhile must not take it away from those that can read it."""
    await kept.keep(3)
    with monkeypatch.context() as newer:
        newer.setitem(form._FORM.shape, "Node", [*form._FORM.shape["Node"], "colour"])
        made = await kept.keep()
    with capture_logs() as logs:
        assert await kept.snapshots.load() == await kept.folded(3)
    assert [each["event"] for each in logs] == ["snapshot_passed_over", "snapshot_loaded"]
    assert [each.index for each in await kept.snapshots.listed()] == [made.index, 3]


async def test_what_is_read_back_otherwise_does_not_count(kept: Kept) -> None:
    made = await kept.snapshots.keep(*await kept.folded(), "0.1.0")
    other = await kept.snapshots.keep(*await kept.folded(3), "0.1.0")
    await _rewrite(kept, made, [row async for row in kept.shelf.rows(other.id)])
    with pytest.raises(Unreadable):
        await kept.snapshots.verify(made)
    assert await kept.snapshots.listed() == []


async def test_what_a_release_reads_but_would_not_write_again_does_not_count(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that leaves something out: the hash is right, and the state is not all there."""
    made = await kept.snapshots.keep(*await kept.folded(), "0.1.0")
    real = form.Reading.end

    def forgetful(reading: form.Reading) -> State:
        state = real(reading)
        state.members.pop("c")
        return state

    monkeypatch.setattr(form.Reading, "end", forgetful)
    with pytest.raises(Unreadable, match="written otherwise"):
        await kept.snapshots.verify(made)
    assert await kept.snapshots.listed() == []


# ── other histories ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def memory() -> Kept:
    """A log that can lose its end."""
    log, shelf = MemoryLog(), MemoryShelf()
    return Kept(log, shelf, Snapshots(shelf, log), 0)


async def test_one_of_a_lost_history_is_refused(memory: Kept) -> None:
    """After a lossy fail-over: what lies before the loss fits, what lies after it does not, though its index exists."""
    await memory.grow(*"abcdef")
    await memory.keep(3)
    await memory.keep(6)
    memory.log.lose(4)
    assert (await memory.snapshots.load() or [None])[0] == (await memory.folded(3))[0], "its index is not there"
    await memory.keep(4)
    memory.log.lose(3)
    await memory.grow(*"xyz")
    assert (await memory.snapshots.load() or [None])[0] == (await memory.folded(3))[0], "another event is there"
    assert [each.index for each in await memory.snapshots.listed()] == [3]


async def test_fits_where_the_log_begins_after_it(memory: Kept) -> None:
    """Its own event is not kept any more; the next was hashed with it, or the head is."""
    await memory.grow(*"abcdef")
    made = await memory.keep()
    memory.log.compact(7)
    assert (await memory.snapshots.load() or [None, None])[1] == made.position
    await memory.grow("g")
    assert (await memory.snapshots.load() or [None, None])[1] == made.position


async def test_does_not_fit_where_what_follows_was_hashed_with_another(memory: Kept) -> None:
    await memory.grow(*"abcdef")
    await memory.keep()
    memory.log.lose(5)
    await memory.grow(*"xyz")
    memory.log.compact(7)
    assert await memory.snapshots.load() is None


async def test_a_view_begins_with_it_and_proves_the_rest(memory: Kept) -> None:
    await memory.grow(*"abc")
    made = await memory.keep()
    await memory.grow(*"de")
    memory.log.compact(made.index)
    read: list[int] = []
    page = memory.log.page

    async def counted(*given: int) -> list[Any]:
        rows: list[Any] = await page(*given)
        read.extend(row[0] for row in rows)
        return rows

    memory.log.page = counted
    view = View(memory.log, memory.snapshots)
    await view.catch_up()
    assert view.state.members.keys() == set("abcde")
    assert (view.index, view.topic_index("peers"), min(read)) == (6, 6, made.index + 1)


async def test_a_view_begins_with_it_as_soon_as_the_log_is_there(memory: Kept) -> None:
    await memory.grow(*"abc")
    await memory.keep()
    view = View(memory.log, memory.snapshots)
    memory.log.away = True
    with pytest.raises(LogUnavailable):
        await view.catch_up()
    assert view.index == 0
    memory.log.away = False
    with capture_logs() as logs:
        await view.catch_up()
    assert [each["event"] for each in logs] == ["snapshot_loaded"]
    assert view.state.members.keys() == set("abc")


async def test_a_view_that_begins_at_the_very_end_tells_who_waits(memory: Kept) -> None:
    end = await memory.grow(*"abc")
    await memory.keep()
    view = View(memory.log, memory.snapshots)
    seen: list[int] = []
    view.subscribe(lambda change: seen.append(change.index))
    await view.catch_up()
    assert await view.reached(end, 0)
    assert seen == [end]


async def test_a_view_without_a_beginning_says_what_to_do(memory: Kept) -> None:
    """The log's start was dropped, and its snapshot is damaged: no state is better than a wrong one."""
    await memory.grow(*"abc")
    made = await memory.keep()
    memory.log.compact(3)
    before = memory.log.incarnation
    await _rewrite(memory, made, [b"nonsense"])
    with pytest.raises(StartGone, match="kept after index 3 only"):
        await View(memory.log, memory.snapshots).catch_up()
    assert memory.log.incarnation == before, "no other history was declared"


async def test_a_view_that_was_left_behind_goes_on_from_a_snapshot(memory: Kept) -> None:
    """It was away for so long that the log does not reach back to it: nothing of the history is another."""
    await memory.grow(*"ab")
    view = View(memory.log, memory.snapshots)
    await view.catch_up()
    await memory.grow(*"cdef")
    await memory.keep(5)
    memory.log.compact(5)
    incarnation = memory.log.incarnation
    await view.catch_up()
    assert view.state.members.keys() == set("abcdef")
    assert memory.log.incarnation == incarnation


async def test_a_reload_uses_only_what_fits(memory: Kept) -> None:
    await memory.grow(*"abcdef")
    await memory.keep(3)
    await memory.keep(7)
    view = View(memory.log, memory.snapshots)
    await view.catch_up()
    memory.log.lose(4)
    await memory.grow(*"uvwxyz")
    await view.catch_up()
    assert view.state.members.keys() == {*"abc", *"uvwxyz"}
    assert view.state.incarnation == memory.log.incarnation == "incarnation1"
    assert [each.index for each in await memory.snapshots.listed()] == [3]
