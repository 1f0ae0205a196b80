"""The database comes back as another one that knows less: noticed, named anew once, and nothing stops for it."""

from __future__ import annotations

import pytest

from tests.e2e.address import address
from tests.e2e.cluster import Size, cluster
from tests.e2e.forks import Fork, Story, dumped, failed_over, restored
from tests.e2e.runtimes import Processes

pytestmark = pytest.mark.timeout(240)


@pytest.mark.parametrize("fork", [restored, failed_over, dumped])
def test_a_history_that_lost_its_end(fork: Fork) -> None:
    with address() as front, cluster(Processes(), Size(2, 2, 2), address=front) as there:
        Story(there, front, fork).run()
        there.delete_all()


def test_an_older_copy_that_no_process_remembers() -> None:
    """Every api and reconciler is new: only the agents have seen what the log lost."""
    with address() as front, cluster(Processes(), Size(2, 2, 2), address=front) as there:
        Story(there, front, restored, cold=True).run()
        there.delete_all()
