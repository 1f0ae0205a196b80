"""A past as a cluster of many months has it: jobs rolled out again and again, and others that came and went.

The events are made by the same intents and decisions, folded as they are made, chained, and copied into the log's
tables in one go: a million of them through the append would take most of a bench's time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

import psycopg
from msgspec.structs import replace

from eventstore import codec
from eventstore.log import Position, Row
from eventstore.migrate import PARTITION
from heroctl.domain import spec as specs
from heroctl.domain import validate
from heroctl.domain.assignment import Capacity, Driver, Inventory, SessionRequest
from heroctl.domain.events import AllocStopping, Event, NodeUp, Record, encode, encode_meta
from heroctl.domain.evolve import Touch, apply
from heroctl.domain.intents import jobs, nodes
from heroctl.domain.intents.change import Change, agent_stream
from heroctl.domain.records import Job
from heroctl.domain.state import State
from tests.bench import fill

_NODES: Final = 50
_REPLICAS: Final = 2
_LARGEST: Final = 2  # events of the largest append
_META: Final = encode_meta(fill.META)
_COLUMNS: Final = "index, last, time, tag, schema, meta, data, chain"
_COPY: Final = f"COPY heroctl.events ({_COLUMNS}) FROM STDIN WITH (FORMAT binary)"


def write(dsn: str, *, events: int, running: int, gone: int = 0) -> Past:
    """Make a log that has just begun `events` long; give its end, the state and the streams that it amounts to.

    `gone`: jobs that were submitted and deleted first; then `running` jobs are rolled out, again and again.
    """
    with psycopg.connect(dsn, autocommit=True) as connection:
        begun = connection.execute(f"SELECT {_COLUMNS} FROM heroctl.events ORDER BY index", binary=True).fetchall()
        past = Past(begun)
        with connection.transaction():
            connection.execute("UPDATE heroctl.head SET index = %s", [events])
            connection.execute("SELECT heroctl.make_partitions(%s)", [PARTITION])
        with connection.transaction(), connection.cursor().copy(_COPY) as copy:
            copy.set_types(["int8", "int8", "int8", "text", "int4", "bytea", "bytea", "bytea"])
            for row in past.rows(running, gone, events):
                copy.write_row(row)
        _finish(connection, past)
    return past


def _finish(connection: psycopg.Connection, past: Past) -> None:
    """Move the head and the streams to where the events are, and leave nothing to be done behind the measurements."""
    with connection.transaction():
        connection.execute(
            "UPDATE heroctl.head SET index = %s, chain = %s, time = %s",
            [past.end.index, past.end.chain, past.time],
        )
        with connection.cursor().copy("COPY heroctl.streams (name, last) FROM STDIN") as copy:
            for stream in past.streams.items():
                copy.write_row(stream)
    connection.execute("VACUUM (ANALYZE) heroctl.events, heroctl.streams")
    connection.execute("CHECKPOINT")


@lru_cache
def _at_version(version: int) -> specs.Job:
    given = fill.spec("any", image=f"registry.example.com/shop/web:1.{version}.0")
    return validate.parse(given | {"meta": {"git_sha": f"{version:07x}", "team": "shop"}})


class Past:
    """A log's end, and the state and streams up to there."""

    def __init__(self, begun: Iterable[Row]) -> None:
        self.state = State()
        self.streams: dict[str, int] = {}
        self.end = Position()
        self.time = 0
        self._touch = Touch()
        self._made: list[Row] = []
        rows = list(begun)
        self.end = codec.verify(rows, self.end)
        for record in codec.records(rows):
            self.time = record.time
            apply(self.state, record, self._touch)

    def rows(self, running: int, gone: int, at_most: int) -> Iterator[Row]:
        """Make rows up to that index: all jobs that go, then rounds in which every running job is rolled out."""
        for _ in self._acts(running, gone):
            yield from self._made
            self._made.clear()
            if self.end.index + _LARGEST > at_most:
                break
        while self.end.index < at_most:
            self._submit(f"last-{self.end.index}", 0)
            yield from self._made
            self._made.clear()
        self._touch.settle(self.state)

    def _acts(self, running: int, gone: int) -> Iterator[None]:
        """Append one thing after the other, for ever, and give way after each."""
        yield from self._open_nodes()
        for number in range(gone):
            self._submit(f"gone-{number}", 0)
            yield
            self._do(jobs.delete_job(self.state, "default", f"gone-{number}"))
            yield
        for version in itertools.count(1):
            for number in range(running):
                yield from self._roll_out(number, version)

    def _open_nodes(self) -> Iterator[None]:
        state = self.state
        capacity, drivers = Capacity(64.0, 1 << 38, 1 << 42), {"docker": Driver(healthy=True, version="28.1.0")}
        for number in range(_NODES):
            name, token = f"node-{number}", f"token-{number}"
            self._do(nodes.create_join_token(token, f"vault-of-{token}", state.time + 60_000, "user:bench"))
            yield
            self._do(nodes.register_node(state, name, token, f"vault-{number}"))
            yield
            node = state.node_names[name]
            session = SessionRequest(f"boot-{number}", Inventory(), capacity, drivers, f"10.0.0.{number}")
            self._do(nodes.open_session(state, node, session, beating=False))
            yield
            self._append((NodeUp(node, name),))
            yield

    def _roll_out(self, number: int, version: int) -> Iterator[None]:
        """Submit another version of a job; replace its replicas one at a time, each when the one before is healthy."""
        job = self._submit(f"job-{number}", version)
        yield
        old = {alloc.slot: alloc for alloc in self.state.allocs_of(job.uid) if alloc.wanted == "run"}
        for slot in range(_REPLICAS):
            node = self.state.node_names[f"node-{(number + slot * 7 + version) % _NODES}"]
            placed = fill.placed(self.state, job, slot, node)
            gone = old.get(slot)
            stopping = (AllocStopping(gone.id, gone.namespace, gone.job, "updated"),) if gone else ()
            self._append((*stopping, placed))
            yield
            for phase, elapsed in fill.LIFE:
                self._append((fill.seen(self.state.allocs[placed.id], phase, elapsed),), (agent_stream(node),))
                yield
            if gone:
                self._append((fill.seen(self.state.allocs[gone.id], "complete", None),), (agent_stream(gone.node),))
                yield
        self._append(fill.finished(job))
        yield

    def _submit(self, name: str, version: int) -> Job:
        self._do(jobs.submit_job(self.state, replace(_at_version(version), name=name), "user:bench"))
        return jobs.find_job(self.state, "default", name)

    def _do(self, change: Change) -> None:
        self._append(change.events, change.moves)

    def _append(self, events: tuple[Event, ...], moves: tuple[str, ...] = ()) -> None:
        encoded = [encode(event) for event in events]
        first, self.end = self.end.index + 1, codec.link(self.end, self.time, _META, encoded)
        last = self.end.index
        for index, (event, (tag, schema, data)) in enumerate(zip(events, encoded, strict=True), first):
            chain = self.end.chain if index == last else None
            self._made.append((index, last, self.time, tag, schema, _META, data, chain))
            apply(self.state, Record(index, last, self.time, event), self._touch)
        self.streams.update(dict.fromkeys(moves, last))
