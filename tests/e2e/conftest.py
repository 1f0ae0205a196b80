"""Clusters for tests: one a module and runtime, made anew after a test that failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Final

import pytest

from tests import image
from tests.e2e.cluster import Cluster, Size, cluster
from tests.e2e.runtimes import Containers, Name, Processes, Runtime
from tests.needs import needs

FAILED: Final = pytest.StashKey[bool]()
BOTH: Final = ("process", pytest.param("docker", marks=needs("docker")))


class Shared:
    """One cluster for many tests, until one of them fails."""

    def __init__(self, make: Callable[[], AbstractContextManager[Cluster]]) -> None:
        self._make = make
        self._stack = ExitStack()
        self._made: Cluster | None = None

    def get(self) -> Cluster:
        """Give the cluster, started if need be."""
        if self._made is None:
            self._made = self._stack.enter_context(self._make())
        return self._made

    def discard(self) -> None:
        """End it; who asks next gets a new one."""
        self._made = None
        self._stack.close()


@pytest.fixture(scope="module", params=BOTH)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    """What runs workloads: tests that ask for it run once on each."""
    name: Name = request.param
    if name == "process":
        return Processes()
    image.ensure()
    return Containers()


@pytest.fixture(scope="module")
def size() -> Size:
    """How many of each part a module's cluster has; modules override it."""
    return Size()


@pytest.fixture(scope="module")
def shared(runtime: Runtime, size: Size) -> Iterator[Shared]:
    """The module's cluster, as a thing that may be discarded."""
    holder = Shared(lambda: cluster(runtime, size))
    yield holder
    holder.discard()


@pytest.fixture
def there(shared: Shared, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A running cluster without jobs, which no test is known to have broken."""
    yield shared.get()
    if request.node.stash.get(FAILED, False):
        shared.discard()
    else:
        shared.get().delete_all()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:  # noqa: ANN401 - pytest's own
    """Show what the parts of the cluster had to say when a test fails."""
    report = yield
    made = getattr(item, "funcargs", {}).get("there")
    if report.failed and isinstance(made, Cluster):
        item.stash[FAILED] = True
        report.sections.append(("cluster", made.logs()))
    return report
