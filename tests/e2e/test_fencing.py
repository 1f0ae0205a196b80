"""A coordinator that is frozen past its lease: another decides meanwhile, and when it wakes it writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from eventstore.lease import TTL
from heroctl.domain.events import CoordinatorElected, MemberJoined, MemberLeft
from tests.e2e.cluster import Cluster, Size, cluster, healthy
from tests.e2e.history import head, records
from tests.e2e.runtimes import Processes
from tests.e2e.scenario import decision
from tests.e2e.specs import QUICK, job
from tests.waiting import until

pytestmark = pytest.mark.timeout(180)
HALF_DONE = {"min_healthy_time": "5s"}  # time enough to freeze who has to say that it is over
TRUSTING = "tests.torture.broken.sleepwalking_reconciler"


@pytest.fixture(params=["reconciler", TRUSTING], ids=["its own clock", "the fence alone"])
def there(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster with two candidates; those of the second kind never doubt their lease."""
    with cluster(Processes(), Size(1, 2, 1), {"reconciler": request.param}) as made:
        yield made


def test_it_writes_nothing_and_steps_down(there: Cluster, request: pytest.FixtureRequest) -> None:
    name = there.coordinating_part()
    frozen = there.parts[name]
    there.submit(job(there.runtime, "before", update={**QUICK, **HALF_DONE}))
    there.client.wait_until("/v1/allocations", some_healthy, job="before", what="what it will have to finish")
    assert frozen.lives_for(1), "it hears of it, too"
    frozen.sigstop()
    slept_from = head(there.postgres.dsn())
    there.submit(job(there.runtime, "after"))
    there.wait_deployed("after", 1, timeout=TTL + 20)
    there.wait_deployed("before", 1)
    assert there.coordinating_part() != name
    end = there.wait_quiet()
    frozen.sigcont()
    until(lambda: "coordinating_no_more" in frozen.tail(), what="its stepping down")
    there.wait_quiet()
    assert frozen.runs
    written = [record.event for record in records(there.postgres.dsn(), after=end)]
    assert all(isinstance(event, MemberJoined | MemberLeft) for event in written), "it is a candidate again"
    assert ("epoch_lost" in frozen.tail()) == (frozen.module == TRUSTING), "or it did not even try"
    written = [record.event for record in records(there.postgres.dsn(), after=slept_from)]
    assert sum(isinstance(event, CoordinatorElected) for event in written) == 1
    done = [what for event in written if (what := decision(event))]
    assert len(done) == len(set(done))
    there.delete_all()


def some_healthy(allocs: list[dict[str, Any]]) -> bool:
    return any(healthy(alloc) for alloc in allocs)
