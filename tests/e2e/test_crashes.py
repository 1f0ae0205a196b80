"""What was acknowledged is in the log once and for ever, whatever is killed around COMMIT."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.crashes import Crash, apis, endure, killed_apis, killed_postgres, lost_answers

pytestmark = pytest.mark.timeout(180)
Fault = Callable[[Cluster, random.Random], Crash]


@pytest.fixture(scope="module")
def pair() -> Iterator[Cluster]:
    with apis() as made:
        yield made


@pytest.mark.parametrize(("fault", "times"), [(killed_apis, 3), (killed_postgres, 3), (lost_answers, 10)])
def test_acknowledged_writes_are_there_once(pair: Cluster, fault: Fault, times: int) -> None:
    dice = random.Random(1)
    assert endure(pair, fault(pair, dice), times, dice) > 100


def test_a_new_batch_id_for_every_retry_is_caught() -> None:
    """The control; `make torture` has more."""
    dice = random.Random(2)
    with apis("tests.torture.broken.doubling_api") as there, pytest.raises(AssertionError, match="more than once"):
        endure(there, lost_answers(there, dice), 5, dice)
