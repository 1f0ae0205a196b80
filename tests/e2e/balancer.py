"""Traffic for a job: a steady stream of requests to whichever replicas the API calls healthy, and what came of each."""

from __future__ import annotations

import http.client
import itertools
import threading
from collections import Counter
from typing import Any, Final, Self

from tests.e2e.client import Client
from tests.waiting import until

_PAUSE: Final = 0.01  # seconds between a caller's requests
_CALLERS: Final = 3
_WAIT: Final = "2000ms"


class Balancer:
    """Routes by the allocations' long poll, as an ingress would, and calls the job until the `with` block ends.

    A new connection for each request. `answers` counts the bodies of good ones; `failures` says what became of others,
    and on which port.
    """

    def __init__(self, client: Client, job: str, port: str = "http") -> None:
        self._client = client
        self._job = job
        self._port = port
        self._over = threading.Event()
        self._turn = itertools.count()
        self._targets: list[int] = []
        self._threads = [threading.Thread(target=self._follow, daemon=True)]
        self._threads += [threading.Thread(target=self._call, daemon=True) for _ in range(_CALLERS)]
        self.answers: Counter[str] = Counter()
        self.failures: list[tuple[int, str]] = []

    def enough(self, body: str, more: int = 100) -> None:
        """Wait until so many more requests were answered with a body."""
        wanted = self.answers[body] + more
        until(lambda: self.answers[body] >= wanted, timeout=20, what=f"{more} answers {body!r}")

    def __enter__(self) -> Self:
        self._route()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=30)
        self._client.close()

    def _follow(self) -> None:
        index = 0
        while not self._over.is_set():
            index = self._route(index)

    def _route(self, index: int = 0) -> int:
        asked = {"index": index, "wait": _WAIT} if index else {}
        answer = self._client.get("/v1/allocations", job=self._job, **asked)
        self._targets = [alloc["ports"][self._port]["host"] for alloc in answer.body if _serves(alloc)]
        return answer.index

    def _call(self) -> None:
        while not self._over.is_set():
            targets = self._targets
            if targets:
                self._ask(targets[next(self._turn) % len(targets)])
            else:
                self.failures.append((0, "no healthy replica"))
            self._over.wait(_PAUSE)

    def _ask(self, port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/")
            reply = connection.getresponse()
            body = reply.read().decode()
            if reply.status == 200:
                self.answers[body.strip()] += 1
            else:
                self.failures.append((port, f"status {reply.status}"))
        except (OSError, http.client.HTTPException) as error:
            self.failures.append((port, repr(error)))
        finally:
            connection.close()


def _serves(alloc: dict[str, Any]) -> bool:
    return (alloc["wanted"], alloc["status"], alloc["health"]) == ("run", "running", "healthy")
