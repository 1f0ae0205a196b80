"""An eye that stays on a job from start to end: every state the API shows, by long polls on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final, Self

from tests.e2e.client import Client

WAIT: Final = "1000ms"


class Observer:
    """Follows a job's allocations until the `with` block ends; `lowest` is the least that `count` ever gave."""

    def __init__(self, client: Client, job: str, count: Callable[[list[dict[str, Any]]], int]) -> None:
        self._client = client
        self._job = job
        self._count = count
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"observer of {job}", daemon=True)
        self._failed: BaseException | None = None
        self.counts: list[int] = []

    @property
    def lowest(self) -> int:
        """The least that was ever counted."""
        return min(self.counts)

    @property
    def highest(self) -> int:
        """The most that was ever counted."""
        return max(self.counts)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._over.set()
        self._thread.join(timeout=60)
        self._client.close()
        if self._failed is not None and raised[0] is None:
            raise self._failed

    def _follow(self) -> None:
        index = 0
        try:
            while not self._over.is_set():
                asked = {"index": index, "wait": WAIT} if index else {}
                answer = self._client.get("/v1/allocations", job=self._job, **asked)
                index = answer.index
                self.counts.append(self._count(answer.body))
        except BaseException as error:  # noqa: BLE001 - raised again where the test sees it
            self._failed = error
