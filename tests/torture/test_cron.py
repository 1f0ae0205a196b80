"""Minutes that take a minute, while the coordinator is killed around each: every one is launched, and launched once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from tests.e2e import cron
from tests.e2e.cluster import Cluster, Size, cluster
from tests.e2e.runtimes import Processes
from tests.torture.conftest import Run, Witness
from tests.waiting import until

pytestmark = pytest.mark.timeout(1500)
AROUND = 2.0  # seconds before and after a whole minute


def test_a_coordinator_that_dies_around_each_minute(rounds: Callable[[int], int], witness: Witness) -> None:
    scenario = "the coordinator dies around whole minutes"
    with cluster(Processes(), Size(reconcilers=2)) as there, witness(scenario, "process") as run:
        minutes(there, run, rounds(4))
        there.delete_all()


def test_reconcilers_that_sleep_through_minutes_are_caught(witness: Witness) -> None:
    parts = {"reconciler": "tests.torture.broken.dozing_reconciler"}
    scenario = "control: reconcilers that sleep through every other minute"
    with (
        cluster(Processes(), Size(reconcilers=2), parts, tidy=False) as there,
        witness(scenario, "process") as run,
    ):
        with pytest.raises(AssertionError) as noticed:
            minutes(there, run, 1)
        run.outcome = f"caught: {str(noticed.value).splitlines()[0][:100]}"


def minutes(there: Cluster, run: Run, count: int) -> None:
    """Kill the coordinator around so many whole minutes."""
    dice = random.Random(6)
    cron.submit(there)
    first = len(cron.wait_complete(there, 1, timeout=150))
    for number in range(count):
        with run.round():
            moment = (time.time() // cron.MINUTE + 1) * cron.MINUTE + dice.uniform(-AROUND, AROUND)
            until(lambda at=moment: time.time() >= at, timeout=90, what="the moment")  # type: ignore[misc] # bound now
            there.restart(there.coordinating_part())
            cron.wait_complete(there, first + number + 1, timeout=150)
    there.client.post(f"/v1/jobs/{cron.NAME}/stop", {})
    there.wait_quiet()
    gaps = cron.once_each(there, cron.wait_complete(there, first + count, timeout=30))
    assert set(gaps) == {cron.MINUTE}, f"a scheduled time was left out: {gaps}"
