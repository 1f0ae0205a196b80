"""The database comes back as another one that knows less: noticed, named anew once, and nothing stops for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.address import Address, address
from tests.e2e.cluster import Cluster, Size, cluster
from tests.e2e.forks import Story, failed_over, restored
from tests.e2e.runtimes import Processes

pytestmark = pytest.mark.timeout(240)


@contextmanager
def told(apis: int = 2) -> Iterator[tuple[Cluster, Address]]:
    """Run a cluster behind an address. What its log does not know any more runs on, whatever is deleted."""
    with address() as front, cluster(Processes(), Size(apis, apis, 2), address=front, tidy=False) as there:
        yield there, front


def test_a_standby_that_lacks_the_end() -> None:
    """Every process notices, and one names it anew; `make torture` has other ways."""
    with told() as (there, front):
        Story(there, front, failed_over).run()


def test_an_older_copy_that_no_process_remembers() -> None:
    """Every api and reconciler is new: only the agents have seen what the log lost."""
    with told() as (there, front):
        Story(there, front, restored, "agents").run()


def test_an_older_copy_that_has_outgrown_what_anybody_remembers() -> None:
    """The agents' processes are new, too: what they keep on disk, of a log that was shorter, is all there is."""
    with told(apis=1) as (there, front):
        Story(there, front, restored, "disks").run()
