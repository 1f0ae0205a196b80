"""Lines of ten allocations followed over two apis: none missing, none twice, each one's order kept, whoever dies."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import defaultdict
from collections.abc import Iterator

import httpx2
import pytest

from tests.e2e.cluster import Cluster, Size, cluster
from tests.e2e.runtimes import Processes
from tests.e2e.specs import job
from tests.waiting import until

REPLICAS = 10
ROOM = {"cpu": 0.1, "memory": "32MB", "disk": "1MB"}
SECONDS = 8
RATE = 200  # lines a second
PRINTS = (
    "import time\n"
    "began = time.monotonic()\n"
    f"for number in range({RATE * SECONDS}):\n"
    "    print(number, flush=True)\n"
    f"    time.sleep(max(0, began + number / {RATE} - time.monotonic()))\n"
    "time.sleep(600)\n"
)


@pytest.fixture(scope="module")
def pair() -> Iterator[Cluster]:
    with cluster(Processes(), Size(apis=2, reconcilers=1, agents=2)) as made:
        yield made


class Follower:
    """Reads a stream over one api after the other, each time from the last line it saw."""

    def __init__(self, urls: list[str], token: str, query: str) -> None:
        self.lines: dict[str, list[str]] = defaultdict(list)
        self.breaks = 0
        self._urls, self._token, self._query = urls, token, query
        self._seen = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(httpx2.HTTPError):
                self._read(self._urls[self.breaks % len(self._urls)])
            self.breaks += 1
            self._over.wait(0.2)

    def _read(self, url: str) -> None:
        headers = {"Authorization": f"Bearer {self._token}"} | ({"Last-Event-ID": self._seen} if self._seen else {})
        with httpx2.stream("GET", f"{url}/v1/logs?stream=true&{self._query}", headers=headers, timeout=5) as response:
            identity = ""
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if name == "id":
                    identity = value
                elif name == "data" and "alloc" in (told := json.loads(value)):
                    self.lines[told["alloc"]].append(told["line"])
                    self._seen = identity
                if self._over.is_set():
                    return

    def close(self) -> None:
        self._over.set()
        self._thread.join(10)


def test_none_is_missing_and_none_twice_over_two_apis_of_which_one_is_killed(pair: Cluster) -> None:
    runtime = Processes()
    follower = Follower(list(pair.client.urls), pair.client.token, "job=printing&tail=0")
    try:
        pair.submit(job(runtime, "printing", count=REPLICAS, resources=ROOM, command=["python3", "-c", PRINTS]))
        until(lambda: sum(map(len, follower.lines.values())) > REPLICAS * RATE, timeout=60, what="lines")
        pair.restart("api-1")
        wanted = [str(number) for number in range(RATE * SECONDS)]
        until(
            lambda: (
                len(follower.lines) == REPLICAS and all(len(each) >= len(wanted) for each in follower.lines.values())
            ),
            timeout=90,
            what="all lines",
        )
        assert follower.breaks, "it was cut off once, at least"
        for alloc, lines in follower.lines.items():
            assert lines == wanted, alloc
        dead = next(iter(follower.lines))
        pair.delete("printing")
        until(lambda: not pair.running("printing"), timeout=60, what="the end of all")
        kept = pair.client.get(f"/v1/logs/{dead}", tail=5).body
        assert [each["line"] for each in kept] == wanted[-5:], "the tail of a dead one is still there"
    finally:
        follower.close()
