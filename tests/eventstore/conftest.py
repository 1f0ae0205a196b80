"""Every kind of log, empty but for `cluster.created`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from eventstore.log import Log
from eventstore.memory import MemoryLog
from tests.eventstore.samples import decision


@dataclass
class Store:
    """A log, and a way to elect a coordinator on it."""

    log: Log
    elect: Callable[[], Awaitable[int]]  # gives the new epoch


@pytest.fixture(params=["memory"])
async def store(request: pytest.FixtureRequest) -> Store:
    """One store of each kind."""
    log = MemoryLog()

    async def elect() -> int:
        log.elect(decision(log.epoch + 1))
        return log.epoch

    return Store(log, elect)


@pytest.fixture
def log(store: Store) -> Log:
    """The store's log."""
    return store.log
