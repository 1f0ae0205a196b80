"""The proof of snapshots: each must be what the log before it amounts to, however well its hash fits its bytes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import psycopg
import pytest

from eventstore.__main__ import main
from eventstore.log import Append, Position
from eventstore.postgres import PostgresLog
from eventstore.shelf import PostgresShelf
from eventstore.snapshots import Snapshots
from eventstore.states import states
from eventstore.tail import Tail
from eventstore.view import fold
from heroctl.domain.holders import User
from heroctl.domain.state import State
from tests.eventstore.conftest import opened
from tests.eventstore.samples import intent


async def _grow(log: PostgresLog, *, forge: int | None = None) -> list[int]:
    """Append, and keep a snapshot after each third append; the one of this number knows a user whom nobody made."""
    snapshots, made = Snapshots(PostgresShelf(log.database), log), []
    state, tail = State(), Tail(log)
    for number in range(3):
        for each in range(3):
            await log.append(Append(intent(number, each).events))
        async for records in tail.pages():
            fold(state, records)
        eve = User(name="eve", roles=("admin",), credential="row")
        kept = replace(state, users={**state.users, "eve": eve}) if forge == number else state
        await snapshots.verify(await snapshots.keep(kept, tail.position, "0.1.0"))
        made.append(tail.position.index)
    return made


async def _faults(log: PostgresLog) -> list[tuple[int, str]]:
    found = states(log, Snapshots(PostgresShelf(log.database), log))
    return [(fault.index, fault.problem) async for fault in found]


async def test_true_snapshots_are_found_true(dsn: str) -> None:
    async with opened(dsn) as log:
        await _grow(log)
        assert await _faults(log) == []


@pytest.mark.parametrize("forged", [0, 1, 2])
async def test_a_forged_one_is_named_though_its_hash_fits(dsn: str, forged: int) -> None:
    """And it alone: those after it are judged by the log, not by it."""
    async with opened(dsn) as log:
        made = await _grow(log, forge=forged)
        [(index, problem)] = await _faults(log)
    assert index == made[forged]
    assert "not what the log amounts to" in problem


async def test_a_damaged_one_is_named(dsn: str, admin: psycopg.Connection) -> None:
    async with opened(dsn) as log:
        made = await _grow(log)
        admin.execute(
            """UPDATE heroctl.snapshot_rows SET data = set_byte(data, 20, get_byte(data, 20) # 1)
            WHERE snapshot = (SELECT id FROM heroctl.snapshots WHERE index = %s)""",
            [made[1]],
        )
        [(index, _)] = await _faults(log)
    assert index == made[1]


async def test_the_verdict_is_on_snapshots_too(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with opened(dsn) as log:
        made = await _grow(log, forge=1)
    capsys.readouterr()
    assert await asyncio.to_thread(main, ["verify", "--dsn", dsn]) == 1
    verdict = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (verdict["ok"], verdict["index"], verdict["code"]) == (False, made[1], "snapshot")


async def test_after_the_logs_start_has_gone_the_oldest_is_the_beginning(dsn: str, admin: psycopg.Connection) -> None:
    """Nothing is left to fold it from; the next ones are folded from it."""
    async with opened(dsn) as log:
        made = await _grow(log, forge=2)
        [(chain,)] = admin.execute("SELECT chain FROM heroctl.events WHERE index = %s", [made[0]]).fetchall()
        admin.execute("UPDATE heroctl.floor SET index = %s, chain = %s", [made[0], chain])
        with pytest.raises(Exception, match=str(made[0])):
            [records async for records in Tail(log, Position()).pages()]
        [(index, _)] = await _faults(log)
    assert index == made[2]
