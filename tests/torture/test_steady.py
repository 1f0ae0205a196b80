"""A large cluster in which nothing happens: for ten minutes nothing grows, nothing is written, nobody is missed."""

from __future__ import annotations

import pytest

from tests.bench.nodes import BEAT, NODES, SAMPLES, Fleet, fill, fleet, measured, rest
from tests.e2e import history
from tests.torture.conftest import Witness

pytestmark = pytest.mark.timeout(1500)
MINUTES = 10
WARM = 60.0  # seconds until caches hold what they hold
GROWTH = 0.5  # MiB a minute of each process, at most


def test_nothing_grows_in_ten_minutes(witness: Witness) -> None:
    with fleet() as there, witness("200 nodes and 5,000 replicas at rest", "fakes") as run:
        fill(there)
        rest(WARM)
        dsn = there.cluster.postgres.dsn()
        head, beats = history.head(dsn), there.beats()
        with run.round():
            grown, share, size = watched(there, MINUTES)
        assert max(grown) <= GROWTH, f"MiB a minute: {grown}"
        assert share <= 50, f"{share:.0f} % of a core"
        assert size <= 400, f"{size:.0f} MiB"
        assert there.beats() - beats >= NODES / BEAT * MINUTES * 60 * 0.9
        assert there.sampled() >= SAMPLES * 0.9, "all of them are measured all the time"
        assert history.head(dsn) == head, "nothing was to be written"
        run.outcome = f"held: {share:.1f} % of a core, {size:.0f} MiB, {told(grown)} MiB a minute"


def test_an_api_that_hoards_grows(witness: Witness) -> None:
    with (
        fleet(api="tests.torture.broken.hoarding_api") as there,
        witness("control: an api that keeps what it was sent", "fakes") as run,
    ):
        rest(WARM / 4)
        with run.round():
            grown, _, _ = watched(there, 1)
        assert max(grown) > GROWTH
        run.outcome = f"caught: {told(grown)} MiB a minute"


def watched(there: Fleet, minutes: int) -> tuple[list[float], float, float]:
    """Give by how much (MiB a minute) each process grew, what share of a core both took, and their size in the end."""
    _, before = measured(there.pids, 1)
    shares, after = measured(there.pids, minutes * 60)
    grown = [(now - then) / minutes for then, now in zip(before, after, strict=True)]
    return grown, sum(shares), sum(after)


def told(grown: list[float]) -> str:
    """Say by how much each grew."""
    return ", ".join(f"{name} {mib:+.2f}" for name, mib in zip(("api", "reconciler"), grown, strict=True))
