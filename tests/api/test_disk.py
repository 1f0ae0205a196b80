"""A disk that is low: who is refused, who is not, and what the end of it looks like."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from api.disk import SPARED, Disk
from heroctl.domain.errors import Unavailable
from heroctl.domain.events import EVENTS, JobDeleted, JobStopped, TokenCreated
from tests.api.rig import Clock

RESERVE = 1000


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What is free, as the disk tells."""
    told = SimpleNamespace(free=RESERVE)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: told)
    return told


def test_it_is_low_below_the_reserve_and_until_there_is_clearly_more(free: SimpleNamespace) -> None:
    clock = Clock()
    disk = Disk(Path("/"), RESERVE, clock.monotonic)
    for amount, low in ((1000, False), (999, True), (1050, True), (1099, True), (1100, False), (1000, False)):
        free.free = amount
        clock.ticks += 1
        assert disk.low is low, amount


def test_it_is_looked_at_once_a_second(free: SimpleNamespace) -> None:
    clock = Clock()
    disk = Disk(Path("/"), RESERVE, clock.monotonic)
    assert not disk.low
    free.free = 0
    assert not disk.low
    clock.ticks += 1
    assert disk.low


def test_what_asks_for_more_is_refused_and_what_helps_is_not(free: SimpleNamespace) -> None:
    free.free = 0
    disk = Disk(Path("/"), RESERVE)
    stopped, deleted = JobStopped(1, "default", "web"), JobDeleted(1, "default", "web")
    disk.check([])
    disk.check([stopped, deleted])
    created = TokenCreated("t", "x", "admin", (), "c")
    for events in ([created], [stopped, created]):
        with pytest.raises(Unavailable) as refused:
            disk.check(events)
        assert (refused.value.code, refused.value.retry_after) == ("disk_low", 10)


def test_a_disk_that_cannot_be_looked_at_is_no_reason_to_refuse(tmp_path: Path) -> None:
    assert not Disk(tmp_path / "none", RESERVE).low
    assert not Disk().low


def test_only_intents_need_to_be_spared() -> None:
    assert {kind.WRITER for kind in EVENTS.values() if kind in SPARED} == {"intent"}
    assert set(EVENTS.values()) > SPARED
