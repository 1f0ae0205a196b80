"""Fills a log as a long-lived cluster would have: jobs that run, and many that came and went."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

from eventstore.database import Database
from eventstore.log import Append, Log
from eventstore.postgres import open_log
from heroctl.domain import validate
from heroctl.domain.assignment import Capacity, Driver, Inventory, Report, SessionRequest
from heroctl.domain.events import (
    AllocPlaced,
    AllocReported,
    DeploymentFinished,
    Event,
    JobDeployed,
    Meta,
    NodeUp,
)
from heroctl.domain.evolve import evolve
from heroctl.domain.ids import allocation_id
from heroctl.domain.intents import jobs, nodes
from heroctl.domain.intents.change import Change, agent_stream
from heroctl.domain.records import Alloc, Job
from heroctl.domain.state import State

Seen = Literal["starting", "running", "healthy", "complete"]

_BATCH: Final = 400
# What an agent reports of a replica that comes up, and for how long it has run by then.
LIFE: Final[tuple[tuple[Seen, float | None], ...]] = (("starting", None), ("running", 0.4), ("healthy", 10.5))
NODE: Final = "bench-1"
META: Final = Meta("user:bench", "req_0000000000", "10.0.0.7")


def spec(name: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of the task
    """Give a job spec of a usual size: two replicas with a port, limits, a health check and some environment."""
    task = {
        "name": "web",
        "image": "registry.example.com/shop/web:1.5.0",
        "count": 2,
        "env": {"MODE": "prod", "LOG_LEVEL": "info", "DB_HOST": "db.internal", "DB_PORT": "5432", "WORKERS": "4"},
        "ports": {"http": 8080},
        "resources": {"cpu": 0.25, "memory": "128MB"},
        "health": {"http": "/healthz", "port": "http"},
    }
    return {"job": name, "meta": {"git_sha": "0f3c9a1", "team": "shop"}, "tasks": [task | fields]}


def fill(dsn: str, *, running: Sequence[str] = (), gone: int = 0) -> None:
    """Append, as one writer: jobs of these names, rolled out and healthy, after `gone` others that were deleted."""
    asyncio.run(_fill(dsn, running, gone))


async def _fill(dsn: str, running: Sequence[str], gone: int) -> None:
    async with Database(dsn) as database, open_log(database) as log:
        writer = Writer(log)
        await writer.catch_up()
        if gone:
            await _come_and_go(writer, gone)
        if running:
            await _node(writer)
            await _roll_out(writer, running)


class Writer:
    """The log, and the state that its events amount to."""

    def __init__(self, log: Log) -> None:
        """Know nothing yet."""
        self._log = log
        self.state = State()

    async def catch_up(self) -> None:
        """Fold what the log has."""
        async for records in self._log.read(self.state.index):
            for record in records:
                evolve(self.state, record)

    async def do(self, changes: Iterable[Change], epoch: int | None = None) -> None:
        """Append changes that have nothing to do with one another, many in one append."""
        waiting = list(changes)
        while waiting:
            batch, waiting = waiting[:_BATCH], waiting[_BATCH:]
            events = tuple(event for change in batch for event in change.events)
            moves = tuple(sorted({stream for change in batch for stream in change.moves}))
            await self._log.append(Append(events, moves, epoch=epoch))
        await self.catch_up()

    async def decide(self, events: Iterable[Event]) -> None:
        """Append decisions, under the epoch that the log is at."""
        epoch = (await self._log.head()).epoch
        await self.do((Change((event,)) for event in events), epoch)

    def jobs(self, names: Iterable[str]) -> list[Job]:
        """Find jobs by name."""
        return [jobs.find_job(self.state, "default", name) for name in names]


async def _come_and_go(writer: Writer, count: int) -> None:
    names = [f"gone-{number}" for number in range(count)]
    await _submit(writer, names)
    await writer.do(jobs.delete_job(writer.state, "default", name) for name in names)


async def _submit(writer: Writer, names: Iterable[str]) -> None:
    await writer.do(jobs.submit_job(writer.state, validate.parse(spec(name)), "user:bench") for name in names)


async def _node(writer: Writer) -> None:
    state = writer.state
    await writer.do([nodes.create_join_token("bench", "vault-bench", state.time + 60_000, "user:bench")])
    await writer.do([nodes.register_node(state, NODE, "bench", "vault-bench-1")])
    capacity, drivers = Capacity(2000.0, 1 << 42, 1 << 46), {"docker": Driver(healthy=True, version="20.10.24")}
    session = SessionRequest("boot", Inventory(), capacity, drivers, "10.0.0.1")
    node = state.node_names[NODE]
    await writer.do([nodes.open_session(state, node, session, beating=False)])
    await writer.decide([NodeUp(node, NODE)])


async def _roll_out(writer: Writer, names: Sequence[str]) -> None:
    state = writer.state
    await _submit(writer, names)
    found = writer.jobs(names)
    node = state.node_names[NODE]
    await writer.decide(placed(state, job, slot, node) for job in found for slot in range(2))
    for phase, elapsed in LIFE:
        allocs = [alloc for job in found for alloc in state.allocs_of(job.uid)]
        await writer.do(Change((seen(alloc, phase, elapsed),), (agent_stream(node),)) for alloc in allocs)
    for job in found:
        assert all(alloc.health == "healthy" for alloc in state.allocs_of(job.uid)), job.name
    await writer.decide(event for job in found for event in finished(job))


def placed(state: State, job: Job, slot: int, node: str) -> AllocPlaced:
    """Give the decision that places a replica of the job's only task."""
    [task] = job.current.tasks
    number = job.next_n + slot
    return AllocPlaced(
        allocation_id(state.incarnation, job.uid, number),
        job.uid,
        number,
        job.namespace,
        job.name,
        task.name,
        slot,
        job.current.version,
        task.content,
        node,
        0.25,
        128_000_000,
        300_000_000,
        deployment=job.deployment,
    )


def seen(alloc: Alloc, phase: Seen, elapsed: float | None) -> AllocReported:
    """Give what an agent reports: `starting`, `running`, `healthy`, or `complete` once it was stopped."""
    report = Report(
        alloc=alloc.id,
        attempt=1,
        phase="running" if phase == "healthy" else phase,
        health="healthy" if phase == "healthy" else "unknown",
        ports={"http": 20_000 + alloc.create_index % 12_000},
        address="10.0.0.1",
        running_for=elapsed,
        healthy_for=10.0 if phase == "healthy" else None,
        container=alloc.id[:12],
    )
    return AllocReported(alloc.node, report)


def finished(job: Job) -> tuple[Event, Event]:
    """Give the decisions that end a roll-out which went well."""
    known = (job.uid, job.namespace, job.name)
    return (
        DeploymentFinished(job.deployment, *known, status="successful"),
        JobDeployed(*known, version=job.current.version, deployment=job.deployment),
    )
