"""The sweep of the vault: what no event names goes, and nothing else, whoever is late or dies in the middle."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from eventstore.database import Database
from eventstore.log import Append, Head
from eventstore.memory import MemoryLog
from eventstore.migrate import migrate
from eventstore.postgres import PostgresLog, open_log
from eventstore.vault import MemoryVault, PostgresVault
from eventstore.view import View
from heroctl.domain.credentials import KINDS, SEALED, named, orphans
from heroctl.domain.events import IncarnationDrawn, JoinTokenCreated, LevelRaised, SecretWritten, TokenCreated
from heroctl.domain.holders import JoinToken, Token, User
from heroctl.domain.intents import access, nodes, secrets
from heroctl.domain.intents.change import Change
from heroctl.domain.records import Node
from heroctl.domain.state import State
from reconciler import sweep as sweeping
from reconciler.sweep import AGE, Sweep
from tests import house
from tests.domain.worlds import World
from tests.eventstore.fastloop import elapse
from tests.eventstore.fastloop import run as run_fast
from tests.waiting import eventually

ROWS = st.sets(st.sampled_from([f"row-{n}" for n in range(24)]))

# ── what may go ──────────────────────────────────────────────────────────────────────────────────────────────────────


@given(rows=ROWS, users=ROWS, tokens=ROWS, joining=ROWS, holders=ROWS)
def test_what_is_named_stays_and_all_else_goes(
    rows: set[str], users: set[str], tokens: set[str], joining: set[str], holders: set[str]
) -> None:
    state = State(
        users={row: User(row, (), row) for row in users},
        tokens={row: Token(row, "", "", (), row, None) for row in tokens},
        join_tokens={row: JoinToken(row, row, 0) for row in joining},
        nodes={row: Node(row, row, row, 1, 1) for row in holders},
    )
    gone = orphans(state, sorted(rows))
    assert not {*gone} & (users | tokens | joining | holders)
    assert {*gone} == rows - users - tokens - joining - holders


def test_every_record_with_a_credential_names_its_row() -> None:
    """Whoever adds another kind of credential is reminded to say that its row is in use."""
    world = World()
    world.node()
    world.do(nodes.create_join_token("j1", "row-j1", world.state.time + 60_000, "tester"))
    world.do(access.create_user(world.state, "admin", ("admin",), "row-admin"))
    world.do(access.create_token(world.state, TokenCreated("t1", "ci", "admin", ("viewer",), "row-t1")))
    holding = {
        name
        for name, kind in vars(__import__("heroctl.domain.state", fromlist=["state"])).items()
        if isinstance(kind, type) and issubclass(kind, Struct) and "credential" in kind.__struct_fields__
    }
    records = [
        record
        for field in dataclasses.fields(world.state)
        if isinstance(part := getattr(world.state, field.name), dict)
        for record in part.values()
        if type(record).__name__ in holding
    ]
    assert {type(record).__name__ for record in records} == holding
    assert named(world.state) == {record.credential for record in records}


def test_every_kind_of_row_is_either_swept_or_kept_for_ever() -> None:
    """What is put under a drawn id lives by its name; what is kept under a known one does so without.

    The row of a secret is drawn before it is kept: what is in it opens in this very row alone.
    """
    drawn, known = {SEALED}, set()
    for file in house.product():
        for call, called in house.calls(file):
            words = [each.value for each in call.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            if called.endswith("vault.put"):
                drawn.update(words)
            elif called.endswith("vault.keep"):
                known.update(words)
    assert drawn == set(KINDS)
    assert known
    assert not known & drawn


# ── when ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_goes_with_the_coordinator_alone() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        vault, coordinates = MemoryVault(loop.time), False
        view = View(MemoryLog(), clock=loop.time)
        works = [view.run(), Sweep(view, vault, lambda: coordinates).run()]
        tasks = [asyncio.ensure_future(work) for work in works]
        await vault.put("token", b"")
        await elapse(3 * AGE)
        assert await vault.older(AGE, KINDS)
        coordinates = True
        await elapse(1.2 * sweeping.EVERY)
        assert not await vault.older(0, KINDS)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    run_fast(main)


class Old(MemoryVault):
    """Rows that are all old enough, and a moment between their listing and what comes after it."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(lambda: self.now)
        self.listed = asyncio.Event()

    async def older(self, seconds: float, kinds: object, after: str = "") -> list[str]:
        """See Vault.older."""
        rows = await super().older(seconds, KINDS, after)
        self.listed.set()
        return rows


async def _late(log: MemoryLog) -> tuple[View, Old, Sweep]:
    view, vault = View(log), Old()
    await view.catch_up()
    await vault.put("token", b"")
    vault.now += 2 * AGE
    return view, vault, Sweep(view, vault, lambda: True)


async def test_a_view_that_does_not_reach_the_head_removes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "_PATIENCE", 0.01)
    log = MemoryLog()
    view, _, sweep = await _late(log)
    await log.append(Append((JoinTokenCreated("j", "row", 1, "tester"),)))
    assert await sweep.sweep() == 0
    await view.catch_up()
    assert await sweep.sweep() == 1


@pytest.mark.parametrize("event", [LevelRaised(2), IncarnationDrawn("another")])
async def test_a_view_that_is_not_sound_or_of_another_history_removes_nothing(
    event: LevelRaised | IncarnationDrawn,
) -> None:
    log = MemoryLog()
    view, vault, sweep = await _late(log)
    await log.append(Append((event,), epoch=0))
    await view.catch_up()
    assert await sweep.sweep() == 0
    assert await vault.older(AGE, KINDS)


async def test_a_log_that_lost_its_end_removes_nothing() -> None:
    log = MemoryLog()
    first = (await log.head()).index
    await log.append(Append((JoinTokenCreated("j", "row", 1, "tester"),)))
    _, vault, sweep = await _late(log)
    log.lose(first)
    assert await sweep.sweep() == 0
    assert await vault.older(AGE, KINDS)


# ── on a real log ────────────────────────────────────────────────────────────────────────────────────────────────────


class Store:
    """A log, its vault, a view that follows, and a sweep."""

    def __init__(self, database: Database, log: PostgresLog) -> None:
        self.database = database
        self.log = log
        self.vault = PostgresVault(database)
        self.view = View(log)
        self.sweep = Sweep(self.view, self.vault, lambda: True)

    async def do(self, change: Change) -> None:
        """Append what an intent decided."""
        appended = await self.log.append(Append(change.events, change.moves))
        assert await self.view.reached(appended.last, 10)

    async def age(self, rows: str = "%") -> None:
        """Let an hour pass for some rows, or for all."""
        old = "UPDATE heroctl.vault SET created_at = created_at - interval '61 minutes' WHERE id LIKE %b"
        await self.database.fetch(old, [rows])

    async def rows(self) -> set[str]:
        """List what is kept."""
        return {row for (row,) in await self.database.fetch("SELECT id FROM heroctl.vault")}


@pytest.fixture
async def store(postgres_dsn: str) -> AsyncIterator[Store]:
    await asyncio.to_thread(migrate, postgres_dsn)
    async with Database(postgres_dsn) as database, open_log(database) as log:
        store = Store(database, log)
        following = asyncio.ensure_future(store.view.run())
        yield store
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


async def test_dropping_the_name_frees_the_row(store: Store) -> None:
    """Every kind of credential, from its making to its end; what was never named; and what is not the fold's."""
    state, vault = store.view.state, store.vault
    key = await vault.keep("signing-key-1", "signing_key", b"key")
    rows = {kind: await vault.put(kind, b"") for kind in KINDS if kind != "node"}
    await store.do(access.create_user(state, "admin", ("admin",), rows["password"]))
    state = store.view.state
    await store.do(access.create_token(state, TokenCreated("t1", "ci", "admin", ("viewer",), rows["token"])))
    await store.do(nodes.create_join_token("j1", rows["join_token"], state.time + 60_000, "admin"))
    await store.do(secrets.write_secret(state, SecretWritten("default", "db", 1, rows[SEALED])))
    await vault.put("token", b"its api died before the append")
    await store.age()
    rows["node"] = await vault.put("node", b"")
    young = await vault.put("node", b"its append is under way")
    assert await store.sweep.sweep() == 1
    kept = {*rows.values(), "signing-key-1", young}
    assert await store.rows() == kept
    await store.do(nodes.register_node(store.view.state, "n1", "j1", rows["node"]))
    assert await store.sweep.sweep() == 1
    assert await store.rows() == kept - {rows["join_token"]}
    await store.do(access.delete_token(store.view.state, "t1"))
    await store.age(rows["node"])
    [node] = store.view.state.nodes.values()
    await store.do(secrets.delete_secret(store.view.state, "default", "db"))
    await store.do(nodes.remove_node(node))
    assert await store.sweep.sweep() == 3
    assert await store.rows() == {rows["password"], "signing-key-1", young}
    assert await store.sweep.sweep() == 0
    assert await vault.get("signing-key-1") == key


async def test_many_rows_go_by_the_thousand(store: Store) -> None:
    insert = (
        "INSERT INTO heroctl.vault (id, kind, bytes) SELECT md5(n::text), 'token', '' FROM generate_series(1, 2500) n"
    )
    await store.database.fetch(insert)
    kept = "c4ca4238a0b923820dcc509a6f75849b"  # of 1
    await store.do(access.create_user(store.view.state, "admin", ("admin",), kept))
    await store.age()
    assert await store.sweep.sweep() == 2_499
    assert await store.rows() == {kept}


async def _named_while_listed(store: Store, monkeypatch: pytest.MonkeyPatch) -> str:
    """Sweep with a view that stands still, while a row that was listed gets its name; return the row."""
    row = await store.vault.put("password", b"")
    await store.age()
    older = store.vault.older

    async def name_it(*asked: object) -> list[str]:
        rows = await older(*asked)  # type: ignore[arg-type] # as it was asked
        if row in rows:
            change = access.create_user(State(), "late", ("viewer",), row)
            await store.log.append(Append(change.events, change.moves))
        return rows

    monkeypatch.setattr(store.vault, "older", name_it)
    async with store.view.still():
        sweeping = asyncio.ensure_future(store.sweep.sweep())
        await eventually(lambda: sweeping.done() or store.view._known > store.view.index)
    await sweeping
    return row


async def test_a_row_that_has_just_been_named_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await store.vault.get(await _named_while_listed(store, monkeypatch)) is not None


async def test_without_a_look_at_the_head_a_named_row_would_go(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: the same, by a sweep that believes its view."""
    state = store.view.state

    async def believe() -> Head:
        return Head(store.view.index, 0, state.incarnation, b"", 0)

    await eventually(lambda: store.view.started)
    monkeypatch.setattr(store.view, "head", believe)
    assert await store.vault.get(await _named_while_listed(store, monkeypatch)) is None
