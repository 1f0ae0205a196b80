"""What survives, and what is made of it when it does not survive whole."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import journal
from agents.desired import Desired, Dropped, Told
from agents.health import Pulse
from agents.journal import Identity, Journal, Unreadable
from agents.record import Record
from heroctl.domain.assignment import Mark
from tests.agents.rig import alloc

WHO = Identity("n1", "alpha", "hn_secret", "test")


class Disk:
    """A folder, and journals over it: `again` is the next process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = self._open("boot1", 100.0)

    def _open(self, boot: str, now: float) -> Journal:
        journal = Journal(self.folder, boot, lambda: now)
        journal.open()
        return journal

    def again(self, boot: str = "boot1", now: float = 150.0) -> Journal:
        self.journal.close()
        self.journal = self._open(boot, now)
        return self.journal

    async def save(self, name: str, desired: Desired, record: Record | None = None, pulse: Pulse | None = None) -> None:
        await self.journal.save(self.journal.entry(record or Record(name), desired, pulse))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "data")
    yield made
    made.journal.close()


def held(*names: str, incarnation: str = "i1") -> Desired:
    return Desired(incarnation, 7, {name: alloc(name) for name in names})


async def test_everything_comes_back(disk: Disk) -> None:
    record = Record("a", attempt=2, phase="running", container="c1", ports={"http": 20_000}, begun=(90.0,))
    pulse = Pulse("c1", 1, "healthy", 95.0)
    disk.journal.join(WHO)
    await disk.save("a", held("a"), record, pulse)
    told = Told("i1", 7, Mark(9, bytes(range(32))))
    await disk.journal.hold(told)
    again = disk.again()
    remembered = again.load()
    assert again.identity() == WHO
    assert remembered.desired.told == told
    assert remembered.desired.allocs == {"a": alloc("a")}
    assert (remembered.records, remembered.pulses) == ({"a": record}, {"a": pulse})


async def test_what_a_release_without_marks_wrote_is_read(disk: Disk) -> None:
    (disk.folder / "assignment.json").write_bytes(b'{"incarnation":"i1","index":7,"boot":"b","heard_at":1.5}')
    assert disk.again().load().desired.told == Told("i1", 7)


async def test_after_a_reboot_times_are_of_this_boot_and_health_is_not_known(disk: Disk) -> None:
    record = Record("a", attempt=2, phase="ended", begun=(90.0,), not_before=110.0)
    await disk.save("a", held("a"), record, Pulse("c1", 1, "healthy", 95.0))
    await disk.journal.hold(Told("i1", 7))
    remembered = disk.again("boot2", 5.0).load()
    assert remembered.records["a"].begun == (-5.0,)
    assert remembered.records["a"].not_before == 15.0
    assert remembered.pulses == {}


async def test_a_broken_file_is_put_aside_and_costs_only_itself(disk: Disk) -> None:
    for name in ("a", "b"):
        await disk.save(name, held("a", "b"))
    await disk.journal.hold(Told("i1", 7))
    (disk.folder / "allocs" / "a.json").write_bytes(b'{"boot": 1')
    remembered = disk.again().load()
    assert list(remembered.desired.allocs) == ["b"]
    assert (disk.folder / "allocs" / "a.corrupt").exists()


async def test_without_the_index_nothing_is_known_to_be_wanted(disk: Disk) -> None:
    await disk.save("a", held("a"))
    await disk.journal.hold(Told("i1", 7))
    (disk.folder / "assignment.json").write_bytes(b"\xff")
    desired = disk.again().load().desired
    assert (desired.incarnation, desired.index, desired.allocs) == ("", 0, {})
    assert list(desired.kept) == ["a"]


async def test_what_was_dropped_or_of_an_older_incarnation_stays_so(disk: Disk) -> None:
    desired = Desired("i2", 3, {"a": alloc("a")}, {"b": alloc("b")}, {"c": Dropped(alloc("c"), 90.0)})
    for name in ("a", "b", "c"):
        await disk.save(name, desired)
    await disk.journal.hold(Told("i2", 3))
    again = disk.again().load().desired
    assert (list(again.allocs), list(again.kept), list(again.dropped)) == (["a"], ["b"], ["c"])


async def test_what_is_written_at_a_time_stands_as_it_was_asked_for_last(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, others = journal.written, threading.Event()

    def slow_at_first(path: Path, content: bytes, *rest: bool) -> None:
        if b'"index":1,' in content:
            others.wait(0.05)
        else:
            others.set()
        real(path, content, *rest)

    monkeypatch.setattr(journal, "written", slow_at_first)
    await asyncio.gather(*(disk.journal.hold(Told("i1", index)) for index in range(1, 30)))
    assert disk.again().load().desired.index == 29


async def test_what_is_forgotten_is_gone(disk: Disk) -> None:
    disk.journal.join(WHO)
    await disk.save("a", held("a"))
    await disk.journal.forget("a")
    await disk.journal.forget("a")
    assert disk.journal.load().records == {}
    disk.journal.wipe()
    assert disk.again().identity() is None


async def test_a_half_written_file_is_none(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    await disk.save("a", held("a"), Record("a", attempt=1))
    monkeypatch.setattr(os, "fsync", _full)
    with pytest.raises(OSError, match="No space"):
        await disk.save("a", held("a"), Record("a", attempt=2))
    monkeypatch.undo()
    assert disk.again().load().records["a"].attempt == 1


def _full(descriptor: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_broken_identity_is_said_and_not_replaced(disk: Disk) -> None:
    (disk.folder / "identity.json").write_bytes(b"{")
    with pytest.raises(Unreadable, match=r"identity\.json"):
        disk.journal.identity()


def test_secrets_are_for_the_owner_alone(disk: Disk) -> None:
    disk.journal.join(WHO)
    assert (disk.folder / "identity.json").stat().st_mode & 0o077 == 0
    assert disk.folder.stat().st_mode & 0o077 == 0


def test_a_folder_belongs_to_one_agent_at_a_time(disk: Disk) -> None:
    with pytest.raises(Unreadable, match="another agent"):
        Journal(disk.folder, "boot1", lambda: 0.0).open()
