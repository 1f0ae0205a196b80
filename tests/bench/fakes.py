"""Many agents in one process, each with a session, a sync loop, a doorbell and samples: the agents' own code.

`python -m tests.bench.fakes --api URL --nodes 200`, with an admin's token in BENCH_TOKEN. Only what is below is made
up: containers start after a moment, stay healthy until they are told to stop, and use a little. Nothing goes to a disk.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import secrets
import sys
from collections.abc import Iterable, Iterator
from typing import Final

import httpx2
import structlog
import uvloop

from agents.client import Away, Client
from agents.clock import RealClock
from agents.counters import Counters
from agents.desired import Desired, Heard, Told, answered, forgotten, rung
from agents.doorbell import Doorbell
from agents.fake_runtime import FakeRuntime
from agents.journal import Identity
from agents.running import Running
from agents.samples import Sampler
from agents.sync import Sync
from heroctl.domain.assignment import (
    Capacity,
    Driver,
    Inventory,
    Outcome,
    Report,
    Ring,
    SessionRequest,
    SyncReply,
)
from heroctl.domain.lifecycle import Phase

CORES: Final = 16.0  # of each node
MEMORY: Final = 64 << 30
AGAIN: Final = 0.5  # seconds between two attempts to join
START: Final = 0.1  # seconds that a container takes to start, and to stop


class Used(FakeRuntime):
    """What containers use: a little, all the time. So does the machine."""

    limits = CORES, float(MEMORY)

    async def usage(self, container: str) -> Counters:
        """Say what a container has used."""
        del container
        return self.counters()

    def counters(self) -> Counters:
        """Say what the machine has used."""
        now = self._clock.now()
        return Counters(now / 10, 50e6, now * 1e3, now * 2e3, now, now * 1e2)

    def gauges(self) -> dict[str, float]:
        """Say how full its disk is."""
        return {"disk_percent": 12.0}


class Fake:
    """One node: what it was told to run, and in which phase each of that is."""

    def __init__(self, number: int, client: Client, capacity: Capacity) -> None:
        self._number = number
        self._client = client
        self._capacity = capacity
        self._clock = RealClock()
        self._doorbell = Doorbell(self._rang)
        self._sync = Sync(client, self._clock, self._doorbell, self)
        self._desired = Desired()
        self._phases: dict[str, Phase] = {}
        self._since: dict[str, float] = {}
        self._used = Used(self._clock, "docker")
        self._boot = secrets.token_hex(16)

    async def run(self, join_token: str) -> None:
        """Join, keep in step and tell what is used, for ever."""
        identity = await self._joined(join_token)
        self._client.token = identity.token
        sampler = Sampler(
            identity.id,
            self._used,
            self._running,
            self._client.samples,
            clock=self._clock,
            session=lambda: self._sync.session,
        )
        await asyncio.gather(self._sync.run(), sampler.run())

    async def _joined(self, join_token: str) -> Identity:
        while True:
            try:
                return await self._client.join(join_token, f"fake-{self._number:04}")
            except Away:
                await self._clock.sleep(AGAIN)

    def _running(self) -> Iterator[Running]:
        for alloc, phase in self._phases.items():
            if phase == "running":
                yield Running(alloc, alloc[:12], self._used, 0.5, 128e6, 0)

    def introduce(self) -> SessionRequest:
        """Say what the node is and runs."""
        held = self.held()
        drivers = {"docker": Driver(healthy=True, version="1")}
        inventory = Inventory(self.reports(self._phases))
        return SessionRequest(
            self._boot,
            inventory,
            self._capacity,
            drivers,
            address=f"10.1.{self._number // 250}.{self._number % 250 + 1}",
            incarnation=held.incarnation,
            index=held.index,
            mark=held.mark,
        )

    def reports(self, allocs: Iterable[str]) -> list[Report]:
        """Say how allocations are."""
        return [self._report(alloc) for alloc in allocs if alloc in self._phases]

    def _report(self, alloc: str) -> Report:
        phase = self._phases[alloc]
        if phase != "running":
            return Report(alloc, 1, phase)
        ran = round(self._clock.now() - self._since[alloc], 3)
        return Report(alloc, 1, phase, "healthy", running_for=ran, healthy_for=ran, container=alloc[:12])

    def held(self) -> Told:
        """Say which assignment is held."""
        return self._desired.told

    def take(self, reply: SyncReply) -> bool:
        """Do what is asked."""
        heard = answered(self._desired, reply, self._clock.now())
        self._apply(heard)
        return heard.pull

    def heard(self, report: Report, outcome: Outcome) -> None:
        """Forget what is over."""
        assert outcome == "ok", (report, outcome)
        if report.phase == "complete":
            del self._phases[report.alloc]
            self._desired = forgotten(self._desired, {report.alloc})

    def _rang(self, ring: Ring | None) -> None:
        heard = Heard(self._desired, frozenset(), pull=True) if ring is None else rung(self._desired, ring)
        self._apply(heard)
        if heard.pull:
            self._sync.pull()

    def _apply(self, heard: Heard) -> None:
        self._desired = heard.desired
        for alloc in heard.touched:
            assigned = heard.desired.allocs.get(alloc)
            if assigned is None:
                continue
            if assigned.wanted == "run" and alloc not in self._phases:
                self._enter(alloc, "starting", "running")
            elif assigned.wanted == "stop" and self._phases.get(alloc) != "complete":
                self._enter(alloc, "stopping", "complete")

    def _enter(self, alloc: str, phase: Phase, then: Phase | None = None) -> None:
        if phase == "running" and self._phases[alloc] != "starting":
            return  # told to stop meanwhile
        self._phases[alloc] = phase
        self._since[alloc] = self._clock.now()
        self._sync.told(alloc, passing=then is not None)
        if then is not None:
            asyncio.get_running_loop().call_later(START, self._enter, alloc, then)


async def run(url: str, nodes: int, capacity: Capacity) -> None:
    """Run so many agents until the process is ended."""
    headers = {"Authorization": f"Bearer {os.environ['BENCH_TOKEN']}"}
    async with httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False) as http, asyncio.TaskGroup() as tasks:
        for number in range(nodes):
            answer = await http.post("/v1/cluster/join-tokens", json={})
            token: str = answer.raise_for_status().json()["token"]
            tasks.create_task(Fake(number, Client([url]), capacity).run(token))
        gc.collect()
        gc.freeze()


def main(argv: list[str]) -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--api", required=True)
    parser.add_argument("--nodes", type=int, required=True)
    options = parser.parse_args(argv)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    uvloop.run(run(options.api, options.nodes, Capacity(CORES, MEMORY, 1 << 40)))


if __name__ == "__main__":
    main(sys.argv[1:])
