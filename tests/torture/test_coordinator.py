"""Coordination that changes hands again and again under load: handed over, and lost by kill -9."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.cluster import Cluster, Size, cluster
from tests.e2e.coordinator import handed_over, killed, loaded
from tests.e2e.runtimes import Processes
from tests.torture.conftest import Witness

pytestmark = pytest.mark.timeout(3000)
AT_MOST = {"handed over": 1.0, "killed": 20.0}  # seconds until another decides


@pytest.fixture
def there() -> Iterator[Cluster]:
    with cluster(Processes(), Size(1, 3, 1)) as made:
        yield made


@pytest.mark.parametrize("how", ["handed over", "killed"])
def test_twenty_times_under_load(there: Cluster, rounds: Callable[[int], int], witness: Witness, how: str) -> None:
    change = {"handed over": handed_over, "killed": killed}[how]
    took: list[float] = []
    with witness(f"a coordinator that is {how}, under load", "process") as run:
        with loaded(there) as load:
            for _ in range(rounds(20)):
                with run.round():
                    took.append(change(there))
                    print(f"{took[-1]:.2f}", end=" ", flush=True)
        assert max(took) <= AT_MOST[how], f"{max(took):.2f} s until another decided"
        run.outcome = f"held: {load.asked} requests; another decided within {max(took):.2f} s"
    there.delete_all()


def test_who_decides_on_after_it_was_handed_over_is_caught(rounds: Callable[[int], int], witness: Witness) -> None:
    """The control: one without a fence goes on under the epoch of whoever was elected."""
    broken = {"reconciler": "tests.torture.broken.unfenced_reconciler"}
    with (
        witness("control: a coordinator that goes on after it was handed over", "process") as run,
        cluster(Processes(), Size(1, 2, 1), broken, tidy=False) as there,
    ):
        with run.round(), pytest.raises(AssertionError) as noticed:
            endure(there)
        run.outcome = f"caught: {str(noticed.value).splitlines()[0][:100]}"


def endure(there: Cluster) -> None:
    with loaded(there):
        for _ in range(3):
            handed_over(there)
