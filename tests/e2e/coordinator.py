"""Coordination that changes hands under load, and what the log says of it afterwards.

The load scales jobs up and down without a pause; a probe is a new job, timed from the fault to its first replica's
place: from then on somebody decides again.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from heroctl.domain.events import AllocPlaced, CoordinatorElected, CoordinatorTransferred
from tests.e2e.client import Client
from tests.e2e.cluster import Cluster
from tests.e2e.history import records
from tests.e2e.scenario import decision
from tests.e2e.specs import job

JOBS: Final = 3
MOST: Final = 4  # replicas of each
TRANSFER: Final = "/v1/raft/transfer-leadership"
_PAUSE: Final = 0.03  # seconds between two of the load's requests


@dataclass(slots=True)
class Load:
    """What was asked for last, by job, and how often the API said yes."""

    there: Cluster
    counts: dict[str, int] = field(default_factory=dict)
    asked: int = 0
    failed: list[BaseException] = field(default_factory=list)

    def begin(self) -> None:
        """Have the jobs there."""
        for number in range(JOBS):
            name = f"load-{number}"
            self.there.submit(job(self.there.runtime, name))
            self.counts[name] = 1

    def run(self, name: str, over: threading.Event) -> None:
        """Scale one of them, until it is over."""
        dice, client = random.Random(name), Client(self.there.client.urls, self.there.client.token)
        try:
            while not over.wait(_PAUSE):
                count = dice.randint(1, MOST)
                client.post(f"/v1/jobs/{name}/scale", {"count": count})
                self.counts[name] = count
                self.asked += 1
        except BaseException as error:  # noqa: BLE001 - the test's to tell
            self.failed.append(error)
        finally:
            client.close()


@contextlib.contextmanager
def loaded(there: Cluster) -> Iterator[Load]:
    """Load a cluster; at the end nothing that was asked for may be missing, or have been decided twice."""
    load, over = Load(there), threading.Event()
    load.begin()
    began = there.wait_quiet(still=0.5)
    threads = [threading.Thread(target=load.run, args=(name, over)) for name in load.counts]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        over.set()
        for thread in threads:
            thread.join(60)
    assert not load.failed, load.failed
    judge(there, load, began)


def judge(there: Cluster, load: Load, began: int) -> None:
    """Hold the log, and what runs, to what was asked for."""
    for name, count in load.counts.items():
        there.wait_healthy(name, count, timeout=60)
    there.wait_quiet(within=30)
    for name, count in load.counts.items():
        assert len(there.running(name)) == count, f"of {name} there is more, or less, than is wanted"
    written = [record.event for record in records(there.postgres.dsn(), after=began)]
    decided = Counter(done for event in written if (done := decision(event)))
    assert [done for done, times in decided.items() if times > 1] == [], "decided twice"
    assert any(isinstance(event, AllocPlaced) for event in written), "there was no load"
    epochs = [event.epoch for event in written if isinstance(event, CoordinatorElected)]
    assert epochs == sorted(set(epochs)), "each epoch is one coordinator's"


_PROBES: Final = itertools.count(1)


def probe(there: Cluster, began: float, *, timeout: float) -> float:
    """Say how many seconds after `began` somebody decides what is asked now."""
    name = f"probe-{next(_PROBES)}"
    there.submit(job(there.runtime, name))
    there.client.wait_until("/v1/allocations", bool, job=name, timeout=timeout, what="a decision")
    took = time.monotonic() - began
    there.client.delete(f"/v1/jobs/{name}")
    return took


def handed_over(there: Cluster) -> float:
    """Hand coordination over; return the seconds until the other decides."""
    before = there.coordinating_part()
    began = time.monotonic()
    told = there.client.post(TRANSFER, {}).body
    took = probe(there, began, timeout=20)
    assert told["coordinator"] != told["previous"]
    assert there.coordinating_part() != before
    return took


def killed(there: Cluster) -> float:
    """Kill the coordinator by kill -9; return the seconds until another decides. It is started again."""
    victim = there.coordinating_part()
    there.parts[victim].kill9()
    took = probe(there, time.monotonic(), timeout=60)
    assert there.coordinating_part() != victim
    there.parts[victim].start()
    _candidate(there, victim)
    return took


def _candidate(there: Cluster, name: str) -> None:
    """Wait until a reconciler is there again."""
    there.client.wait_until(
        "/v1/cluster/peers",
        lambda peers: any(peer["address"] == name and peer["last_seen_s"] < 5 for peer in peers),
        every=0.5,
        what=f"{name} among the peers",
    )


def transfers(there: Cluster, after: int) -> int:
    """Count those that the log tells of."""
    return sum(
        isinstance(record.event, CoordinatorTransferred) for record in records(there.postgres.dsn(), after=after)
    )
