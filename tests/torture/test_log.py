"""The log under crashes, late COMMITs and other histories: nothing acknowledged is lost or doubled, nothing stops."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from eventstore.log import OtherHistory
from eventstore.migrate import migrate
from tests.e2e.address import address
from tests.e2e.cluster import Cluster, Size, cluster
from tests.e2e.crashes import Crash, apis, endure, forget_to_flush, killed_apis, killed_postgres, lost_answers
from tests.e2e.forks import Fork, Memory, Story, dumped, failed_over, restored
from tests.e2e.runtimes import Processes, Runtime
from tests.torture.conftest import Witness
from tests.torture.gaps import follow_log, follow_sequence

pytestmark = pytest.mark.timeout(3000)
LOG = "log"  # what stands in the place of a runtime
MINUTE = 60.0  # seconds
BROKEN = "tests.torture.broken"
Rounds = Callable[[int], int]
Fault = Callable[[Cluster, random.Random], Crash]


# ── order ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_tail_misses_nothing(rounds: Rounds, witness: Witness, postgres_dsn: str) -> None:
    migrate(postgres_dsn)
    with witness("a tail beside writers that roll back", LOG) as run, run.round():
        found = follow_log(postgres_dsn, rounds(1) * MINUTE)
        assert found.there == found.committed == found.seen > 1_000
        run.outcome = f"held: {found.seen} events"


def test_a_tail_by_a_sequence_misses_much(witness: Witness, postgres_dsn: str) -> None:
    with witness("control: the same tail on a sequence", LOG) as run, run.round():
        found = follow_sequence(postgres_dsn, MINUTE / 4)
        assert found.there == found.committed > found.seen
        run.outcome = f"caught: {found.there - found.seen} of {found.there} rows were never seen"


# ── crashes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fault", "usual", "what"),
    [
        (killed_apis, 50, "kill -9 of an api around COMMIT"),
        (killed_postgres, 50, "kill -9 of Postgres under load"),
        (lost_answers, 100, "answers lost after COMMIT"),
    ],
)
def test_crashes_around_commit(fault: Fault, usual: int, what: str, rounds: Rounds, witness: Witness) -> None:
    dice = random.Random(4)
    with apis() as there, witness(what, LOG) as run:
        told = endure(there, fault(there, dice), rounds(usual), dice, run.round)
        run.outcome = f"held: {told} acknowledged writes"


@pytest.mark.parametrize(
    ("module", "fault", "what"),
    [
        (f"{BROKEN}.doubling_api", lost_answers, "a new batch id for every retry"),
        (f"{BROKEN}.eager_api", killed_apis, "an api that answers before the COMMIT"),
        ("api", killed_postgres, "a Postgres that does not flush"),
    ],
)
def test_carelessness_is_caught(module: str, fault: Fault, what: str, witness: Witness) -> None:
    dice = random.Random(5)
    with apis(module) as there, witness(f"control: {what}", LOG) as run:
        if fault is killed_postgres:
            forget_to_flush(there)
        with (
            run.round(),
            pytest.raises((AssertionError, OtherHistory), match=r"are lost|more than once|gone|another") as no,
        ):
            endure(there, fault(there, dice), 10, dice)
        run.outcome = f"caught: {str(no.value).splitlines()[0]}"


# ── other histories ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fork", "who", "what"),
    [
        (failed_over, "all", "a lossy fail-over"),
        (restored, "all", "an older copy of the database"),
        (restored, "agents", "an older copy, and everything but agents is new"),
        (restored, "frozen agents", "an older copy that outgrows what frozen agents were told, everything else new"),
        (restored, "disks", "an older copy that outgrows what agents were told, and every process is new"),
        (dumped, "all", "a dump in another server"),
    ],
)
def test_other_histories(runtime: Runtime, fork: Fork, who: Memory, what: str, witness: Witness) -> None:
    with (
        address() as front,
        cluster(runtime, Size(2, 2, 2), address=front, tidy=False) as there,  # what nobody knows any more runs on
        witness(what, runtime.name) as run,
        run.round(),
    ):
        Story(there, front, fork, who).run()


@pytest.mark.parametrize(
    ("agent", "who", "found", "what"),
    [
        ("obedient", "all", "not all of it runs on", "an older copy, with agents that obey it"),
        (
            "unmarked", "disks", "another incarnation",
            "an older copy that outgrows what agents were told, and they keep no mark",
        ),
    ],
)  # fmt: skip
def test_agents_that_do_not_hold_to_their_history_are_caught(
    agent: str, who: Memory, found: str, what: str, witness: Witness
) -> None:
    modules = {"agents": f"{BROKEN}.{agent}_agent"}
    with (
        address() as front,
        cluster(Processes(), Size(2, 2, 2), modules, address=front, tidy=False) as there,
        witness(f"control: {what}", "process") as run,
    ):
        with run.round(), pytest.raises(AssertionError, match=found) as noticed:
            Story(there, front, restored, who).run()
        run.outcome = f"caught: {str(noticed.value).splitlines()[0]}"
