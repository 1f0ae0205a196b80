"""Fixtures for all tests. Real servers start when the first test asks and end with the run, even a killed one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import settings

from tests import image, keeper, needs, servers

# A change is judged by the same examples every time, here and elsewhere; `make explore` looks for new ones.
settings.register_profile("gate", derandomize=True, deadline=None)
settings.register_profile("explore", derandomize=False, print_blob=True, deadline=None)
settings.load_profile("explore" if "HEROCTL_EXPLORE" in os.environ else "gate")

# Whole clusters and real processes: they wait more than they compute. Begun first, so that the others fill their pauses
# and no worker is left alone with one at the end.
_LONG: Final = (
    "tests/dev/",
    "tests/e2e/",
    "tests/api/test_limits_process.py",
    "tests/api/test_process.py",
    "tests/api/test_canary.py",
    "tests/api/test_past_process.py",
    "tests/api/test_contract_fuzz.py",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Take two workers more than there are cores: on average each of them waits half of the time."""
    return len(os.sched_getaffinity(0)) + 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long."""
    items.sort(key=lambda item: next((at for at, long in enumerate(_LONG) if item.nodeid.startswith(long)), len(_LONG)))


def pytest_configure(config: pytest.Config) -> None:
    """Let tests say what they need of the machine."""
    config.pluginmanager.register(needs, "heroctl-needs")
    config.option.loadscopereorder = False  # the order is made here
    # A run in the background of a script is born deaf to Ctrl-C, and so would be every command that a test sends it to.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """DSN of the run's Postgres 18, superuser, one server for all workers; tests want `postgres_dsn`."""
    owner = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    return keeper.shared("postgres", owner)


@pytest.fixture
def postgres_dsn(postgres_server: str) -> Iterator[str]:
    """DSN of an empty database of the test's own."""
    with servers.database(postgres_server) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def redis_server() -> str:
    """URL of this worker's Valkey; tests want `redis_url`."""
    return keeper.shared("redis", os.getpid())


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """URL of a Valkey as good as new."""
    servers.flush(redis_server)
    return redis_server


@pytest.fixture(scope="session")
def test_image() -> str:
    """Name of an image with a shell and the usual small tools; for tests that need Docker."""
    return image.ensure()
