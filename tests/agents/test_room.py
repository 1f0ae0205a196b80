"""Room on a node: what nobody uses goes where it is short, and where there is too little the node says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from agents.fake_runtime import Script
from agents.runtime import DiskLow
from tests.agents.rig import WEB, Rig, alloc, rig, stopped

LATER = replace(WEB, image="later:1", ports={})


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path) as made:
        for name in ("shop:1", "later:1"):
            made.runtime.scripts[name] = Script(here=False)
        yield made


async def test_images_of_allocations_stay_and_others_go_where_room_is_short(there: Rig) -> None:
    there.control.want(alloc("a1"), alloc("a2", LATER))
    there.start()
    for name in ("a1", "a2"):
        await there.until(there.control.is_phase(name, "running"))
    there.control.want(stopped(alloc("a2", LATER)))
    await there.until(there.control.is_phase("a2", "complete"))
    there.control.drop("a2")
    there.runtime.crowded = True
    await there.until(lambda: there.runtime._pulled == {"shop:1"}, most=600)
    assert there.states() == {"a1": "running"}


async def test_a_node_says_that_its_disk_is_low_and_that_it_is_no_more(there: Rig) -> None:
    there.start()
    await there.until(lambda: there.control.sessions)
    assert "disk.low" not in there.control.sessions[-1].attributes
    there.disk_used = 95
    await there.until(lambda: there.control.sessions[-1].attributes.get("disk.low") == "true", most=120)
    sessions = len(there.control.sessions)
    await there.pass_time(120)
    assert len(there.control.sessions) == sessions, "it is said once"
    there.disk_used = 91
    await there.until(lambda: "disk.low" not in there.control.sessions[-1].attributes, most=120)


async def test_where_nothing_can_be_pulled_the_attempts_end_with_that_reason(
    there: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def low(*_: object) -> None:
        raise DiskLow("the disk is 95 % full")

    monkeypatch.setattr(there.runtime, "pull", low)
    there.control.want(alloc("a1"))
    there.start()
    await there.until(there.control.is_phase("a1", "failed"), most=300)
    report = there.control.seen["a1"]
    assert (report.reason, report.restarts) == ("disk_low", 2)
    assert "95 %" in report.message
