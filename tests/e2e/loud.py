"""A workload that writes numbered lines as fast as it can, and what must hold of it: each line told or counted."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx2
from redis import Redis

from tests.e2e.cluster import Cluster
from tests.e2e.specs import job

ROOM = {"cpu": 0.5, "memory": "64MB", "disk": "1MB"}


_NUMBERS: Final = "seq $n $((n + 19999)); n=$((n + 20000))"
_JUNK: Final = "printf '%s \\033[31m\\001\\377%s\\n' $n $long; n=$((n + 1))"
KINDS: Final = {"numbers": _NUMBERS, "lines of a mebibyte of junk": _JUNK}


def spec(there: Cluster, name: str, seconds: int, kind: str = "numbers") -> dict[str, Any]:
    """Make a job that writes numbered lines for so long and, a moment later, how many; then nothing."""
    script = (
        f"long=$(head -c 1048576 /dev/zero | tr '\\0' x); end=$(($(date +%s) + {seconds})); n=0; "
        f"while [ $(date +%s) -lt $end ]; do {KINDS[kind]}; done; "
        'sleep 5; echo "done $n"; '  # by then there is room for a line again
        "while :; do sleep 1; done"
    )
    return job(there.runtime, name, resources=ROOM, script=script)


class Ears:
    """Follows a job's lines, and keeps books: what was told, and what was counted as missing.

    `begin`: the first number that is due; None: whichever comes first, as earlier ones are not kept any more.
    """

    def __init__(self, there: Cluster, name: str, begin: int | None = 0) -> None:
        self.told = 0
        self.dropped = 0
        self.lost = 0  # neither told nor counted
        self.next = begin
        self.total = -1
        self.faults: list[str] = []
        self._cut = False  # whether the last line goes on in the next
        self._url, self._token = f"{there.url()}/v1/logs?stream=true&job={name}&tail=10000", there.client.token
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Follow no longer."""
        self._over.set()
        self._thread.join(20)  # nothing is said for fifteen seconds at most

    def _run(self) -> None:
        try:
            self._follow()
        except (httpx2.HTTPError, ValueError) as error:
            if not self._over.is_set():
                self.faults.append(str(error))

    def _follow(self) -> None:
        headers = {"Authorization": f"Bearer {self._token}"}
        with httpx2.stream("GET", self._url, headers=headers, timeout=30) as response:
            event = ""
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    event = value
                elif name == "data" and event == "log":
                    self._enter(json.loads(value))
                elif name == "data" and event == "gap":
                    self.faults.append("a reader that keeps up was told of a gap")
                if self._over.is_set():
                    return

    def _enter(self, line: dict[str, Any]) -> None:
        if count := line.get("dropped", 0):
            if self.next is not None:
                self.dropped += count - self._cut  # a line whose end is missing is told, and counted
                self.next += count - self._cut
        elif line["line"].startswith("done "):
            self.total = int(line["line"].partition(" ")[2])
        elif not self._cut and (self.next is not None or line["line"][:1].isdigit()):  # the first may be a line's rest
            number = int(line["line"].partition(" ")[0])
            if self.next is not None and number > self.next:
                self.lost += number - self.next
            elif self.next not in (None, number):
                self.faults.append(f"{number} came where {self.next} was due")
            self.told += 1
            self.next = number + 1
        self._cut = line.get("partial", False)


def p99(there: Cluster, seconds: float) -> float:
    """Ask as people and pipelines do, for so long; give the slowest hundredth in ms."""
    took: list[float] = []
    deadline = time.monotonic() + seconds
    valid = job(there.runtime, "other")
    asks: tuple[Callable[[], object], ...] = (
        lambda: there.client.get("/v1/jobs"),
        lambda: there.client.get("/v1/allocations"),
        lambda: there.client.post("/v1/jobs/validate", valid, keyed=False),
    )
    while time.monotonic() < deadline:
        for ask in asks:
            began = time.perf_counter()
            ask()
            took.append((time.perf_counter() - began) * 1000)
    return sorted(took)[int(len(took) * 0.99)]


def sizes(there: Cluster) -> dict[str, float]:
    """Give the resident size of each part and of Redis, in MiB."""
    found = {name: _resident(part.pid) for name, part in there.parts.items()}
    with Redis.from_url(there.redis.url) as redis:
        found["redis"] = redis.info("memory")["used_memory"] / 2**20
    return found


def _resident(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 2**20
