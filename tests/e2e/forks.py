"""A database that turns out to be another one: what it forgot still runs, and nobody may take that for a mistake."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Literal

import psycopg

from heroctl.domain.events import IncarnationDrawn
from tests import servers
from tests.e2e import history
from tests.e2e.address import Address
from tests.e2e.client import Answer, Client
from tests.e2e.cluster import Cluster
from tests.e2e.history import records
from tests.e2e.runtimes import Workload
from tests.e2e.specs import job
from tests.waiting import until

KEPT: Final = "kept"
LOST: Final = "lost"
FAR: Final = 40  # events
SOON: Final = 30.0  # seconds from the switch until everybody has noticed

Fork = Callable[[Cluster, Address], servers.Postgres]
# Who remembers what was lost; everybody else is ended before the database is exchanged, and begins anew on the other.
# Agents that are frozen, or that left only their disks, are heard again when that one has outgrown what they were told.
Memory = Literal["all", "agents", "frozen agents", "disks"]


@dataclass(slots=True)
class Story:
    """A cluster whose database goes on as one that knows less: `begin`, `forget`, then `holds` says what must be."""

    there: Cluster
    address: Address
    fork: Fork
    who: Memory = "all"

    def run(self) -> None:
        """Tell it from begin to end."""
        self.there.submit(job(self.there.runtime, KEPT, count=2))
        self.there.wait_deployed(KEPT, 1)
        known = self.there.wait_running(KEPT, 2)
        self.there.wait_quiet(still=0.5)
        other = self.fork(self.there, self.address)
        if not self._silent:
            self._go_far()
        self.there.submit(job(self.there.runtime, KEPT, count=3))
        self.there.submit(job(self.there.runtime, LOST, count=2))
        self.there.wait_healthy(KEPT, 3)
        self.there.wait_healthy(LOST, 2)
        running = self.there.wait_running(KEPT, 3) + self.there.wait_running(LOST, 2)
        head = self.there.wait_quiet(still=1)
        incarnation = self._incarnation()
        if self.who == "all":
            self._exchange_under_polls(other, head)
        elif self._silent:
            self._exchange_unheard(other, head)
        else:
            self._exchange_cold(other)
        self._noticed(incarnation)
        self._answers_large_indexes(head)
        self._nothing_stopped(running, known)
        self._works()
        self._lets_go(set(running) - set(known))

    def _go_far(self) -> None:
        """Write so much that the other log is not as long before agents tell of this one, however busy the machine."""
        for number in range(FAR):
            self._write(number)

    def _write(self, number: int) -> None:
        self.there.client.post("/v1/nodes/node-1/eligibility", {"eligible": number % 2 == 1})

    # ── the exchange ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _exchange(self, other: servers.Postgres) -> None:
        self.there.postgres.kill()
        self.there.postgres = other
        other.start()
        if other.is_standby():
            other.promote()
        assert history.head(other.dsn()) < self.there.client.seen, "the fork knows as much, and shows nothing"
        self.address.lead(other.dsn())

    def _exchange_under_polls(self, other: servers.Postgres, head: int) -> None:
        """Somebody waits for news on every api; what comes is news enough."""
        with ThreadPoolExecutor(len(self.there.client.urls)) as pool:
            waiting = [pool.submit(self._poll, url, head) for url in self.there.client.urls]
            self._exchange(other)
            for woken in waiting:
                self._is_present(woken, head)

    def _exchange_cold(self, other: servers.Postgres) -> None:
        away = [part for name, part in self.there.parts.items() if not name.startswith("agent")]
        for part in away:
            part.kill9()
        self._exchange(other)
        for part in away:
            part.start()
        until(self.there.client.ready, timeout=SOON, what="the apis")

    @property
    def _silent(self) -> bool:
        return self.who not in ("all", "agents")

    def _exchange_unheard(self, other: servers.Postgres, head: int) -> None:
        """Let the agents speak only when the other log is longer than the one that they were told of."""
        agents = [part for name, part in self.there.parts.items() if name.startswith("agent")]
        for agent in agents:
            agent.kill9() if self.who == "disks" else agent.sigstop()
        self._exchange_cold(other)
        number = 0
        while history.head(other.dsn()) <= head + FAR or number % 2:
            self._write(number)
            number += 1
        for agent in agents:
            agent.start() if self.who == "disks" else agent.sigcont()

    def _poll(self, url: str, index: int) -> Answer:
        client = Client([url], self.there.client.token)
        try:
            return client.get("/v1/jobs", index=index, wait="60000ms")
        finally:
            client.close()

    def _is_present(self, woken: Future[Answer], head: int) -> None:
        answer = woken.result(timeout=SOON)
        assert answer.index < head
        assert LOST not in {each["name"] for each in answer.body}

    # ── what must be so ──────────────────────────────────────────────────────────────────────────────────────────────

    def _incarnation(self) -> str:
        with psycopg.connect(self.there.postgres.dsn()) as connection:
            row = connection.execute("SELECT incarnation FROM heroctl.head").fetchone()
        assert row is not None
        return str(row[0])

    def _noticed(self, before: str) -> None:
        """Say so once, however many noticed."""
        until(lambda: self._incarnation() != before, timeout=SOON, what="another incarnation")
        self.there.coordinating_part()
        self.there.wait_quiet(still=3, within=60)
        drawn = [one.event for one in records(self.there.postgres.dsn()) if isinstance(one.event, IncarnationDrawn)]
        assert [one.incarnation for one in drawn] == [self._incarnation()]

    def _answers_large_indexes(self, head: int) -> None:
        """Who has seen more than there is gets what there is, at once and from every api."""
        for url in self.there.client.urls:
            client = Client([url], self.there.client.token)
            client.seen = head + 1_000
            with ThreadPoolExecutor(1) as pool:
                answer = pool.submit(client.get, "/v1/jobs", index=head + 1_000, wait="60000ms").result(timeout=5)
            assert 0 < answer.index <= history.head(self.there.postgres.dsn())
            client.close()

    def _nothing_stopped(self, running: list[Workload], known: list[Workload]) -> None:
        """All runs on; what the log does not know any more is told as unknown."""
        assert set(running) <= set(self.there.running()), "not all of it runs on"
        unknown = len(running) - len(known)

        def told(nodes: list[dict[str, Any]]) -> bool:
            return sum(len(node["unknown_containers"]) for node in nodes) == unknown

        self.there.client.wait_until("/v1/nodes", told, timeout=SOON, what=f"{unknown} unknown containers")
        allocs = {found.alloc for found in known}
        assert allocs == {alloc["id"] for alloc in self.there.wait_healthy(KEPT, 2)}

    def _works(self) -> None:
        """The cluster goes on from what it knows, and what it does not know stays beside it."""
        strangers = {found for found in self.there.running() if found.job == LOST}
        self.there.submit(job(self.there.runtime, KEPT, count=2, release="two"))
        self.there.submit(job(self.there.runtime, LOST))
        self.there.wait_deployed(KEPT, 2)
        self.there.wait_healthy(LOST, 1)
        assert strangers <= set(self.there.running(LOST))
        assert len(self.there.running(LOST)) == len(strangers) + 1
        self.there.wait_quiet()

    def _lets_go(self, strangers: set[Workload]) -> None:
        """Stop what the log does not know once somebody says so, and nothing else."""
        others = set(self.there.running()) - strangers
        for node in self.there.client.get("/v1/nodes").body:
            self.there.client.post(f"/v1/nodes/{node['name']}/unknown/release", {})
        until(lambda: not strangers & set(self.there.running()), timeout=SOON, what="the end of unknown containers")

        def none(nodes: list[dict[str, Any]]) -> bool:
            return not any(node["unknown_containers"] for node in nodes)

        self.there.client.wait_until("/v1/nodes", none, timeout=SOON, what="nodes without unknown containers")
        assert set(self.there.running()) == others


# ── ways to know less ────────────────────────────────────────────────────────────────────────────────────────────────


def restored(there: Cluster, address: Address) -> servers.Postgres:
    """Keep a copy of the files: same system identifier, same timeline; nothing but the end tells them apart."""
    address.close()
    there.postgres.stop()
    copied = there.postgres.copy(there.folder / "restored")
    there.postgres.start()
    address.lead(there.postgres.dsn())
    until(there.client.ready, timeout=SOON, what="the apis")
    return copied


def failed_over(there: Cluster, address: Address) -> servers.Postgres:
    """Keep an asynchronous standby that hears no more from here on."""
    standby = there.postgres.standby(there.folder / "standby")
    standby.start()
    head = history.head(there.postgres.dsn())
    until(lambda: history.head(standby.dsn()) == head, what="the standby")
    standby.stop()
    return standby


def dumped(there: Cluster, address: Address) -> servers.Postgres:
    """Load a dump into a server made anew: another system identifier."""
    anew = servers.Postgres(there.folder / "anew", there.postgres.settings)
    anew.folder.mkdir()
    anew.start()
    dump = there.folder / "dump"
    tools = anew.tools
    subprocess.run([tools / "pg_dump", "-Fc", "-f", dump, there.postgres.dsn()], check=True)
    subprocess.run([tools / "pg_restore", "-d", anew.dsn(), dump], check=True)
    anew.stop()
    return anew
