"""Retention's worker: on a real log in small partitions, its lease in hand."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from structlog.testing import capture_logs

from eventstore.cursors import PostgresCursors
from eventstore.export import Exports
from eventstore.lease import Keeper, PostgresLeases
from eventstore.log import Compacted, LogUnavailable
from eventstore.migrate import migrate
from eventstore.partitions import Partitions
from eventstore.postgres import PostgresLog
from eventstore.retention import Window
from eventstore.shelf import Snapshot
from eventstore.snapshot import FORMAT
from heroctl.domain.duration import Size
from heroctl.domain.settings import SettingsError, load
from reconciler.retention import AGAIN, Audit, Retention
from reconciler.settings import Settings
from tests.eventstore.small import SIZE, dropping, grow, reading, small_log

EVERYTHING = Window(bytes=1)
NONE = Audit("unwanted")


class Shots:
    """Snapshots that stand wherever they should, but where they are `missing`."""

    def __init__(self, partitions: Partitions) -> None:
        self.missing: set[int] = set()
        self.format = FORMAT
        self.forgotten: list[int] = []
        self._partitions = partitions

    async def listed(self) -> list[Snapshot]:
        """See Snapshots.listed."""
        ends = [each.end for each in await self._partitions.listed() if each.end is not None]
        return [
            Snapshot(str(end.index), end.index, end.chain, "", self.format, "", 0, 0)
            for end in ends
            if end.index not in self.missing
        ]

    async def forget(self, below: int) -> int:
        """See Snapshots.forget."""
        self.forgotten.append(below)
        return 0


class Rig:
    """A log of five partitions and a bit, a coordinator's lease, and the worker."""

    def __init__(self, dsn: str, log: PostgresLog) -> None:
        self.dsn = dsn
        self.log = log
        self.ticks = 0.0
        self.partitions = dropping(log)
        self.cursors = PostgresCursors(log.database)
        self.snapshots = Shots(self.partitions)
        self.keeper = Keeper(PostgresLeases(log.database), "me", ttl=300)  # nobody renews it

    def worker(self, audit: Audit = NONE, window: Window = EVERYTHING) -> Retention:
        """A worker of this log's."""
        return Retention(
            log=self.log,
            keeper=self.keeper,
            partitions=self.partitions,
            cursors=self.cursors,
            snapshots=self.snapshots,
            window=window,
            audit=audit,
            clock=lambda: self.ticks,
        )

    async def kept(self) -> list[int]:
        """Where the partitions begin that have events."""
        head = (await self.log.head()).index
        return [each.first for each in await self.partitions.listed() if each.first <= head]


@contextlib.asynccontextmanager
async def coordinating(dsn: str) -> AsyncIterator[Rig]:
    async with small_log(dsn, fill=5 * SIZE + 10) as log:
        rig = Rig(dsn, log)
        await rig.keeper.attempt()
        yield rig


@pytest.fixture
async def rig(postgres_dsn: str) -> AsyncIterator[Rig]:
    async with coordinating(postgres_dsn) as made:
        yield made


@contextlib.contextmanager
def said() -> Iterator[list[tuple[str, str]]]:
    """Collect what is logged: event and reason."""
    lines: list[tuple[str, str]] = []
    with capture_logs() as logs:
        yield lines
    lines += [(line["event"], str(line.get("reason", ""))) for line in logs]


ALL = [1 + SIZE * number for number in range(6)]
TWO = ALL[-2:]


async def test_what_nobody_wants_goes(rig: Rig) -> None:
    with said() as lines:
        await rig.worker().round()
    assert await rig.kept() == TWO
    assert await rig.partitions.below() == []
    assert lines == [("floor_raised", ""), ("partition_dropped", "")] * 4
    floor = await rig.partitions.floor()
    assert rig.snapshots.forgotten[-1] == floor.index
    with pytest.raises(Compacted):
        await rig.log.page(floor.index - 1)
    with said() as lines:
        await rig.worker().round()
    assert lines == []


async def test_what_is_wanted_stays(rig: Rig) -> None:
    with said() as lines:
        await rig.worker(window=Window()).round()
        await rig.worker(window=Window(ms=86_400_000)).round()
        await rig.worker(audit=Audit(), window=Window(ms=86_400_000)).round()
    assert (await rig.kept(), lines) == (ALL, []), "and nobody is bothered as long as nothing waits"


async def test_who_said_nothing_of_exports_is_told_once_a_day(rig: Rig) -> None:
    worker = rig.worker(audit=Audit())
    with said() as lines:
        await worker.round()
        await worker.round()
    assert lines == [("retention_waits", "export_unsaid")]
    rig.ticks += AGAIN
    with said() as lines:
        await worker.round()
    assert lines == [("retention_waits", "export_unsaid")]
    assert await rig.kept() == ALL


async def test_exported_first_and_dropped_then(rig: Rig, tmp_path: Path) -> None:
    """All that is full is exported, what is to stay as well; only then does anything go."""
    with said() as lines:
        await rig.worker(Audit.of(str(tmp_path), rig.dsn)).round()
    assert await rig.kept() == TWO
    assert ("retention_waits", "export_failed") not in lines
    entries = Exports(tmp_path).entries()
    assert len(entries) == 5
    assert [one.first - 1 for one in entries[1:]] == [one.last for one in entries[:-1]]
    assert all(Exports(tmp_path).sound(entry.end) for entry in entries)


async def test_without_a_place_for_the_export_it_waits(rig: Rig, tmp_path: Path) -> None:
    """Told once, tried again later and later; when the disk is back all goes on by itself."""
    folder = tmp_path / "audit"
    worker = rig.worker(Audit.of(str(folder), rig.dsn))
    with said() as lines:
        await worker.round()
        await worker.round()
    assert set(lines) == {("retention_waits", "export_failed"), ("retention_waits", "export_missing")}
    assert len(lines) == 2
    assert await rig.kept() == ALL
    folder.mkdir()
    await worker.round()
    assert await rig.kept() == ALL, "not before the pause is over"
    rig.ticks += 3_600
    with said() as lines:
        await worker.round()
    assert ("exports_again", "") in lines
    assert await rig.kept() == TWO


@pytest.mark.parametrize("fault", ["no process", "hangs", "lease lost"])
async def test_an_export_that_cannot_go_on(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Whatever keeps the child from its work is told, and the child does not outlive its time or its lease."""
    children: list[asyncio.subprocess.Process] = []

    def pass_an_hour() -> None:
        rig.ticks += 3_600

    start = asyncio.create_subprocess_exec

    async def exec_(*command: str, **more: Any) -> asyncio.subprocess.Process:  # noqa: ANN401 - passed on
        if fault == "no process":
            raise OSError("Cannot allocate memory")
        children.append(await start(sys.executable, "-c", "import time; time.sleep(600)", **more))
        if fault == "hangs":
            asyncio.get_running_loop().call_soon(pass_an_hour)
        else:
            await rig.keeper.release()
        return children[0]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", exec_)
    monkeypatch.setattr("reconciler.retention._LOOK", 0.01)
    with said() as lines:
        await rig.worker(Audit.of(str(tmp_path), rig.dsn)).round()
    told = [] if fault == "lease lost" else [("retention_waits", "export_failed")]
    assert [line for line in lines if line[1] != "export_missing"] == told
    assert [child.returncode for child in children] == [-9] * len(children)
    assert await rig.kept() == ALL


async def test_a_damaged_export_is_made_anew(rig: Rig, tmp_path: Path) -> None:
    worker = rig.worker(Audit.of(str(tmp_path), rig.dsn), Window())
    await worker.round()
    entry = Exports(tmp_path).entries()[0]
    file = tmp_path / entry.file
    file.write_bytes(bytes(entry.bytes))
    worker = rig.worker(Audit.of(str(tmp_path), rig.dsn))
    with said() as lines:
        await worker.round()
    assert lines == [("export_damaged", "")]
    assert await rig.kept() == ALL
    await worker.round()
    assert await rig.kept() == TWO
    assert Exports(tmp_path).sound(entry.end)
    assert file.with_name(f"{file.name}.damaged").read_bytes() == bytes(entry.bytes)


async def test_a_cursor_and_a_snapshot_hold_it_up(rig: Rig) -> None:
    ends = [each.end.index for each in await rig.partitions.listed() if each.end is not None]
    await rig.cursors.begin("webhooks/a", ends[1])
    with said() as lines:
        await rig.worker().round()
    assert lines[-1] == ("retention_waits", "cursor_behind")
    assert await rig.kept() == ALL[2:]
    await rig.cursors.end("webhooks/a")
    rig.snapshots.missing = {ends[3]}
    with said() as lines:
        await rig.worker().round()
    assert lines[-1] == ("retention_waits", "snapshot_missing")
    assert await rig.kept() == ALL[3:]
    rig.snapshots.missing, rig.snapshots.format = set(), FORMAT + 1
    with said() as lines:
        await rig.worker().round()
    assert lines == [("retention_waits", "snapshot_missing")], "a newer release's is of no use to this one"


async def test_without_the_lease_nothing_goes(rig: Rig, tmp_path: Path) -> None:
    await rig.keeper.release()
    await rig.worker(Audit.of(str(tmp_path), rig.dsn)).round()
    assert await rig.kept() == ALL


async def test_a_deposed_coordinator_drops_nothing(rig: Rig) -> None:
    """It still believes in its lease, and the database does not."""
    other = PostgresLeases(rig.log.database)
    await rig.log.database.fetch("UPDATE heroctl.lease SET expires = clock_timestamp()")
    assert await other.take("other", 15) == 2
    assert rig.keeper.epoch() == 1
    await rig.worker().round()
    assert await rig.kept() == ALL


async def test_beside_a_reader_it_comes_again(rig: Rig, tmp_path: Path) -> None:
    """A backup may take hours: what is begun waits for its end, and exports are made meanwhile."""
    worker = rig.worker(Audit.of(str(tmp_path), rig.dsn))
    with reading(rig.dsn):
        for _ in range(2):
            with said() as lines:
                await worker.round()
            assert lines[-1][0] == "retention_held"
        assert len(await rig.partitions.below()) == 1
        assert await rig.kept() == ALL[1:]
        await grow(rig.log, 7 * SIZE)
        with said() as lines:
            await worker.round()
        assert len(Exports(tmp_path).entries()) == 7
    await worker.round()
    assert await rig.partitions.below() == []
    assert len(await rig.kept()) == 2


async def test_a_role_that_may_not_drop_is_told(postgres_dsn: str) -> None:
    name = f"test_{uuid4().hex[:12]}"
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN")
        migrate(postgres_dsn, partition=SIZE, application=name)
        try:
            async with coordinating(postgres_dsn.replace("postgres@", f"{name}@")) as rig:
                with said() as lines:
                    await rig.worker().round()
                assert lines == [("retention_waits", "not_owner")]
                assert await rig.kept() == ALL
        finally:
            admin.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


async def test_it_outlives_a_database_that_is_away(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The round that failed is told, and the next one comes."""
    monkeypatch.setattr("reconciler.retention.ROUND", 0.01)
    rounds: list[int] = []

    async def away(_: Retention) -> None:
        rounds.append(1)
        raise LogUnavailable("away") if len(rounds) < 3 else ZeroDivisionError

    monkeypatch.setattr(Retention, "round", away)
    with said() as lines, pytest.raises(ZeroDivisionError):
        await rig.worker().run()
    assert lines == [("retention_interrupted", "away")] * 2


def test_the_settings() -> None:
    settings = load(Settings, ["--dsn", "x", "--keep-size", "20GiB"], {})
    assert (settings.keep_days, settings.audit_dir, settings.owner_dsn) == (92, "", "")
    assert settings.keep_size == Size.parse(20 * 2**30)
    for wrong in (["--keep-days", "-1"], ["--keep-days", "soon"], ["--keep-size", "big"]):
        with pytest.raises(SettingsError, match=wrong[0]):
            load(Settings, ["--dsn", "x", *wrong], {})


def test_what_is_said_of_exports() -> None:
    assert Audit.of("", "dsn").export == "unsaid"
    assert Audit.of("none", "dsn").export == "unwanted"
    assert Audit.of("/srv/audit", "dsn") == Audit("wanted", Path("/srv/audit"), "dsn")
