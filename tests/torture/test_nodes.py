"""Nodes that are cut off for long, or in one direction only, or die: what is on them is where it should be, in time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Final

import pytest

from heroctl.domain.events import AllocPlaced, AllocReported, NodeDown
from tests import image
from tests.e2e.cluster import Cluster, Size, cluster
from tests.e2e.history import head, records
from tests.e2e.network import Network, Way, network
from tests.e2e.nodes import all_but_one, cut_off, homes, lose, wait_given_up, wait_status
from tests.e2e.runtimes import Containers
from tests.e2e.specs import job
from tests.needs import needs
from tests.torture.conftest import Run, Witness

pytestmark = [needs("docker"), needs("netns"), pytest.mark.timeout(3000)]
NODES: Final = 4
WAYS: Final[dict[Way, str]] = {"both": "a node", "in": "a node that hears nobody", "out": "a node that nobody hears"}
FLEET: Final = 10  # nodes, of which some die at a time
AT_ONCE: Final = 4
DOWN: Final = 15.0  # seconds from a node's death until it is down, at most
RUNNING: Final = 30.0  # … until its replicas run elsewhere
WITH_COORDINATOR: Final = 50.0  # … where the coordinator dies with it
BROKEN: Final = "tests.torture.broken"


@pytest.fixture
def containers() -> Containers:
    image.ensure()
    return Containers()


@pytest.mark.parametrize("way", WAYS)
def test_a_partition_of_ninety_seconds(containers: Containers, way: Way, witness: Witness) -> None:
    with wired(containers, Size(agents=NODES)) as (there, wires), witness(f"{WAYS[way]} for 90 s", "docker") as run:
        with run.round():
            cut_off(there, wires, 90, way)
        there.delete_all()


def test_most_nodes_vanish_again_and_again(
    containers: Containers, rounds: Callable[[int], int], witness: Witness
) -> None:
    with wired(containers, Size(agents=NODES)) as (there, wires), witness("all nodes but one vanish", "docker") as run:
        for _ in range(rounds(3)):
            with run.round():
                all_but_one(there, wires)
            there.delete_all()


def test_an_agent_that_takes_silence_for_its_dismissal_is_caught(containers: Containers, witness: Witness) -> None:
    parts = {"agents": f"{BROKEN}.panicking_agent"}
    scenario = "control: an agent that stops all when nobody answers"
    with wired(containers, Size(agents=NODES), parts) as (there, wires), witness(scenario, "docker") as run:
        is_caught(run, lambda: cut_off(there, wires, 20))


def test_a_reconciler_without_a_brake_is_caught(containers: Containers, witness: Witness) -> None:
    parts = {"reconciler": f"{BROKEN}.brakeless_reconciler"}
    scenario = "control: all nodes but one vanish, without a brake"
    with wired(containers, Size(agents=NODES), parts) as (there, wires), witness(scenario, "docker") as run:
        is_caught(run, lambda: all_but_one(there, wires))


def test_deaths_with_the_coordinator_alive(
    containers: Containers, rounds: Callable[[int], int], witness: Witness
) -> None:
    with wired(containers, Size(agents=FLEET)) as (there, wires), witness("deaths of nodes", "docker") as run:
        deaths = Deaths(there, wires)
        for _ in range(rounds(5)):
            with run.round():
                deaths.round()
        run.outcome = f"held: {deaths.told()}"
        assert max(deaths.down) <= DOWN, deaths.told()
        assert max(deaths.running) <= RUNNING, deaths.told()
        there.delete_all()


def test_deaths_together_with_the_coordinator(
    containers: Containers, rounds: Callable[[int], int], witness: Witness
) -> None:
    size = Size(reconcilers=2, agents=FLEET)
    scenario = "deaths of nodes together with the coordinator"
    with wired(containers, size) as (there, wires), witness(scenario, "docker") as run:
        deaths = Deaths(there, wires, coordinator=True)
        for _ in range(rounds(3)):
            with run.round():
                deaths.round()
        run.outcome = f"held: {deaths.told()}"
        assert max(deaths.running) <= WITH_COORDINATOR, deaths.told()
        there.delete_all()


@dataclass(slots=True)
class Deaths:
    """Nodes that die, several in each round, at moments that chance draws; and how long each took (seconds).

    A node dies with its agent and its containers, and no word of it gets out.
    """

    there: Cluster
    wires: Network
    coordinator: bool = False  # whether it dies with the first of them
    down: list[float] = field(default_factory=list)
    running: list[float] = field(default_factory=list)
    dice: random.Random = field(default_factory=lambda: random.Random(5))

    def round(self) -> None:
        """Let some die, wait until all that was on them runs elsewhere, and bring them back."""
        there = self.there
        there.submit(job(there.runtime, "dying", count=FLEET, spread=[{"attribute": "${node.name}"}]))
        there.wait_healthy("dying", FLEET, timeout=90)
        where, running = homes(there, "dying"), there.wait_running("dying", FLEET)
        index = head(there.postgres.dsn())
        victims = self.dice.sample(sorted({where[found.alloc] for found in running}), AT_ONCE)
        died: dict[str, float] = {}
        killed = there.coordinating_part() if self.coordinator else ""
        with ExitStack() as cuts:
            for name in victims:
                agent = name.replace("node", "agent")
                cuts.enter_context(self.wires.cut(agent))
                assert there.parts["api-1"].lives_for(self.dice.uniform(0, 1))
                died[name] = time.time()
                lose(there, int(name.partition("-")[2]), [found for found in running if where[found.alloc] == name])
                if killed and there.parts[killed].runs:
                    there.parts[killed].kill9()
            lost = {found.alloc for found in running if where[found.alloc] in victims}
            wait_given_up(there, "dying", lost, timeout=90)
            there.wait_healthy("dying", FLEET, timeout=60)
        self._measure(index, died, where)
        for part in there.parts.values():
            if not part.runs:
                part.start()
        wait_status(there, victims, "ready")
        there.delete_all()

    def told(self) -> str:
        """Say how long it took."""
        return (
            f"{len(self.down)} deaths, down after {median(self.down):.1f} s (at most {max(self.down):.1f}), "
            f"replicas run after {median(self.running):.1f} s (at most {max(self.running):.1f})"
        )

    def _measure(self, index: int, died: dict[str, float], where: dict[str, str]) -> None:
        """Read off the log when each node was down, and when what replaced its replicas ran."""
        instead: dict[str, float] = {}  # by the allocation that replaces another: when that one's node died
        for record in records(self.there.postgres.dsn(), after=index):
            at = record.time / 1000
            match record.event:
                case NodeDown(name=name) if name in died:
                    self.down.append(at - died[name])
                case AllocPlaced(id=new, replaces=old) if where.get(old) in died:
                    instead[new] = died[where[old]]
                case AllocReported(report=said) if said.phase == "running" and said.alloc in instead:
                    self.running.append(at - instead.pop(said.alloc))
        assert not instead, "all that was lost runs again"


def is_caught(run: Run, scenario: Callable[[], None]) -> None:
    """Hold that a scenario does not hold."""
    with run.round(), pytest.raises(AssertionError) as noticed:
        scenario()
    run.outcome = f"caught: {str(noticed.value).splitlines()[0][:100]}"


@contextmanager
def wired(runtime: Containers, size: Size, modules: dict[str, str] | None = None) -> Iterator[tuple[Cluster, Network]]:
    """Run a cluster whose agents are each in a network of their own; `modules`: with parts that are broken."""
    with network() as wires, cluster(runtime, size, modules, network=wires, tidy=not modules) as there:
        yield there, wires
