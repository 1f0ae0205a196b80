"""A workload at full output speed for a minute: it costs lines, which are counted, and nobody's answers or memory."""

from __future__ import annotations

import pytest

from tests.e2e import loud
from tests.e2e.cluster import cluster
from tests.e2e.runtimes import Processes, Runtime
from tests.e2e.specs import job
from tests.torture.conftest import Witness
from tests.waiting import until

pytestmark = pytest.mark.timeout(600)
FOLLOWED = 60.0  # seconds
UNFOLLOWED = 30.0
WARM = 10.0
FLAT = {"api-1": 32.0, "agent-1": 12.0, "reconciler-1": 12.0, "redis": 12.0}  # MiB by which each may be larger then
FEW = 5.0  # ms, below which twice as long is nothing


@pytest.mark.parametrize("kind", loud.KINDS)
def test_a_workload_at_full_speed_for_a_minute(witness: Witness, runtime: Runtime, kind: str) -> None:
    told = f"a workload at full output speed, followed: {kind}"
    with cluster(runtime) as there, witness(told, runtime.name) as run:
        there.submit(loud.spec(there, "loud", int(WARM + UNFOLLOWED + FOLLOWED) + 15, kind))
        loud.p99(there, WARM)
        before = loud.p99(there, UNFOLLOWED)
        ears = loud.Ears(there, "loud", None)
        try:
            small = loud.sizes(there)
            with run.round():
                meanwhile = loud.p99(there, FOLLOWED)
            grown = {name: size - small[name] for name, size in loud.sizes(there).items()}
            there.submit(job(there.runtime, "quiet"))
            there.wait_deployed("quiet", 1)
            if counts := runtime.name == "process":
                until(lambda: ears.total >= 0 or ears.faults, timeout=90, what="its last line")
        finally:
            ears.close()
        assert ears.told > 0, str(ears.faults)
        if counts:  # an engine that rotates its files at this pace leaves lines out and tells others again
            assert (ears.faults, ears.lost) == ([], 0)
            assert ears.next == ears.total, "each line was told or counted"
        assert meanwhile <= max(2 * before, FEW), f"{before:.1f} ms unfollowed, {meanwhile:.1f} followed"
        assert not too_large(grown), str(grown)
        most = max(grown, key=lambda name: grown[name])
        run.outcome = (
            f"held: p99 {before:.1f} ms, followed {meanwhile:.1f}; "
            f"{ears.told:,} lines told and {ears.dropped:,} counted; {most} {grown[most]:+.1f} MiB"
        )
        there.delete_all()


def test_an_agent_that_ships_whatever_is_written_is_caught(witness: Witness) -> None:
    """The control: without a bound on what is shipped of one, Redis holds it all."""
    environ = {"HEROCTL_LOG_SIZE": "64MiB", "HEROCTL_LOG_LINES": "1000000", "HEROCTL_LOG_RATE": "16MiB"}
    with (
        cluster(Processes(), environ=environ) as there,
        witness("control: an agent that ships whatever is written", "process") as run,
    ):
        there.submit(loud.spec(there, "loud", 40))
        small = loud.sizes(there)
        with run.round():
            loud.p99(there, 20)
        grown = {name: size - small[name] for name, size in loud.sizes(there).items()}
        assert too_large(grown), str(grown)
        run.outcome = f"caught: {', '.join(f'{name} {mib:+.0f} MiB' for name, mib in grown.items())}"
        there.delete_all()


def too_large(grown: dict[str, float]) -> list[str]:
    """Name what has grown by more than it keeps: an api has a ring of 16 MiB for all who follow."""
    return [name for name, mib in grown.items() if mib > FLAT[name]]
