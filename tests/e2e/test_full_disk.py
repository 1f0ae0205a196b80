"""The database's disk is low, or full: what asks for more is refused, and nothing that was answered is lost."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventstore.log import Log, LogUnavailable
from eventstore.migrate import migrate
from heroctl.domain.events import JobStopped
from tests import servers
from tests.api.process import api
from tests.api.specs import spec
from tests.eventstore.conftest import opened
from tests.eventstore.samples import everything, intent, verified
from tests.needs import needs
from tests.small_disk import SmallDisk, small_disk
from tests.waiting import eventually, until

pytestmark = [needs("tmpfs"), pytest.mark.timeout(120)]
SMALL = {"shared_buffers": "16MB", "min_wal_size": "32MB", "max_wal_size": "32MB"}


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    with tempfile.TemporaryDirectory(prefix="heroctl-disk-") as folder:
        Path(folder).chmod(0o755)
        with small_disk(Path(folder) / "disk", "200M") as made:
            yield made


def test_writes_are_refused_before_the_disk_is_full(disk: SmallDisk, tmp_path: Path) -> None:
    """What helps is accepted, what the cluster itself writes goes on, and once there is room again so does all."""
    reserve = ("--database-folder", str(disk.place), "--disk-reserve", "40MB")
    with servers.postgres(disk.place / "server", **SMALL) as server, api(tmp_path, server.dsn(), "", *reserve) as made:
        for name in ("web", "other"):
            made.ask("POST", "/v1/jobs", spec(name), status=201)
        join = made.ask("POST", "/v1/cluster/join-tokens", status=201)["token"]
        node = made.ask("POST", "/v1/nodes/join", {"token": join, "name": "node-1"}, status=201, token="")
        disk.fill(leave=30_000_000)
        until(lambda: not _enough(made.ask("GET", "/v1/cluster/status")))
        refused = made.ask("POST", "/v1/jobs", spec("third"), status=503)
        assert refused["error"] == "disk_low"
        assert made.ask("POST", "/v1/cluster/join-tokens", status=503)["error"] == "disk_low"
        made.ask("POST", "/v1/jobs/other/stop")
        made.ask("DELETE", "/v1/jobs/other")
        assert made.ask("POST", "/v1/agent/session", _SESSION, token=node["token"])["session"]
        assert [job["name"] for job in made.ask("GET", "/v1/jobs")] == ["web"]
        assert made.ask("GET", "/v1/health/ready") == {"status": "ok"}
        made.login()
        disk.free()
        until(lambda: _enough(made.ask("GET", "/v1/cluster/status")))
        made.ask("POST", "/v1/jobs", spec("third"), status=201)


_SESSION = {
    "boot_id": "b",
    "inventory": {"reports": [], "unknown": []},
    "capacity": {"cpu": 1.0, "memory": 1, "disk": 1},
    "drivers": {},
    "address": "127.0.0.1",
}


def _enough(status: dict[str, list[dict[str, object]]]) -> bool:
    return all(check["ok"] for check in status["checks"] if check["name"] == "disk")


async def test_a_full_disk_loses_nothing_that_was_answered(disk: SmallDisk) -> None:
    """Postgres refuses, or dies of it; when there is room again (and it was started) appends go on."""
    with servers.postgres(disk.place / "server", **SMALL) as server:
        await asyncio.to_thread(migrate, server.dsn())
        async with opened(server.dsn(), patience=1) as log:
            answered = [await _append(log, number) for number in range(20)]
            disk.fill()
            assert disk.is_full()
            with contextlib.suppress(LogUnavailable):
                while len(answered) < 1_000:
                    answered.append(await _append(log, len(answered)))
            assert len(answered) < 1_000, "it was refused"
            disk.free()
            if not server.runs:
                await asyncio.to_thread(server.start)
            await eventually(lambda: _accepts(log), timeout=20, what="an append after all")
            await verified(log)
            events = {record.index: record.event for record in await everything(log)}
            for number, first in enumerate(answered):
                event = events[first]
                assert isinstance(event, JobStopped)
                assert event.uid == number


async def _append(log: Log, number: int) -> int:
    """Append what takes some room; return its first index."""
    return (await log.append(intent(*[number] * 200))).first


async def _accepts(log: Log) -> bool:
    try:
        await log.append(intent(0))
    except LogUnavailable:
        return False
    return True
