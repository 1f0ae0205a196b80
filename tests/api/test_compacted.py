"""A log that begins later than at its start: apis start from a snapshot, and who was left behind goes on from one."""

from __future__ import annotations

import asyncio
from pathlib import Path

from api.errors import refusal_of
from eventstore.cursors import PostgresCursors
from eventstore.database import Database
from eventstore.lease import Keeper, PostgresLeases
from eventstore.log import Compacted
from eventstore.maker import Maker
from eventstore.partitions import Partitions
from eventstore.postgres import PostgresLog
from eventstore.retention import Window
from eventstore.shelf import PostgresShelf
from eventstore.snapshots import Snapshots
from reconciler.retention import Audit, Retention
from tests.api.process import api, watch
from tests.eventstore.small import SIZE, grow, small_log
from tests.waiting import eventually


async def compact(log: PostgresLog, database: Database) -> int:
    """Make snapshots, and let go all that may: as a coordinator does. Return the floor."""
    snapshots = Snapshots(PostgresShelf(database), log)
    assert await Maker(log, snapshots, "1").run()
    keeper = Keeper(PostgresLeases(database), "me", ttl=60)
    await keeper.attempt()
    partitions = Partitions(database, database)
    worker = Retention(
        log=log,
        keeper=keeper,
        partitions=partitions,
        cursors=PostgresCursors(database),
        snapshots=snapshots,
        window=Window(bytes=1),
        audit=Audit("unwanted"),
    )

    async def done() -> bool:
        await worker.round()
        return not await partitions.below()

    await eventually(done)
    return (await partitions.floor()).index


async def test_state_is_there_whatever_was_dropped(postgres_dsn: str, tmp_path: Path) -> None:
    """An api that starts late knows everything; a long poll with an index that nobody keeps is answered with state."""
    async with small_log(postgres_dsn, fill=6 * SIZE) as log:
        floor = await compact(log, log.database)
        assert floor > 3 * SIZE
        with api(tmp_path, postgres_dsn) as made:
            assert made.ask("GET", "/v1/jobs") == made.ask("GET", "/v1/jobs?index=1&wait=1s")
            for path in ("/v1/nodes", "/v1/cluster/status", "/v1/jobs"):
                for index in (1, floor - 1, floor, floor + 1):
                    made.ask("GET", f"{path}?index={index}&wait=10ms")


async def test_an_api_that_was_away_goes_on_from_a_snapshot(postgres_dsn: str, tmp_path: Path) -> None:
    """Frozen while the floor passed it, it serves the present when it wakes, under the same incarnation."""
    async with small_log(postgres_dsn, fill=2 * SIZE) as log:
        with api(tmp_path, postgres_dsn) as made:
            before = made.index("/v1/cluster/status")
            incarnation = (await log.head()).incarnation
            [waiting] = await watch(made, f"/v1/nodes?index={before}&wait=2s", 1)
            made.part.sigstop()
            await grow(log, before + 6 * SIZE)
            assert await compact(log, log.database) > before
            made.part.sigcont()
            await asyncio.wait_for(waiting.answered.wait(), 30)
            assert waiting.status == 200
            assert made.login(), "and it writes"
            assert made.said("left_behind")["index"] >= before
            assert (await log.head()).incarnation == incarnation


def test_below_the_floor_is_gone() -> None:
    refusal = refusal_of(Compacted(7))
    assert refusal is not None
    assert (refusal.status, refusal.code) == (410, "index_compacted")
    assert "7" in refusal.message
