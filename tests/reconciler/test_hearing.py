"""Silence is what was listened to, and not heard."""

from __future__ import annotations

from eventstore.beats import Beat
from heroctl.domain.records import Node
from heroctl.domain.state import State
from heroctl.domain.topics import FLEET
from reconciler.hearing import Hearing
from reconciler.planner.liveness import Heard


class Ear:
    """A hearing with a clock of its own, of two nodes in session 7."""

    def __init__(self) -> None:
        self.now = 1000.0
        nodes = [Node(name, name, "", 1, 1, session=7, up=True) for name in ("a", "b")]
        self.state = State(nodes={node.id: node for node in nodes})
        self.hearing = Hearing(lambda: self.now)

    def take(self, after: float, **counts: int) -> dict[str, Heard]:
        """Read counters some seconds later, and say what was heard."""
        self.now += after
        self.hearing.take({node: Beat(7, count) for node, count in counts.items()})
        return self.hearing.heard(self.state)


def test_a_counter_that_moves_is_a_beat() -> None:
    ear = Ear()
    assert ear.take(0, a=5, b=5) == {"a": Heard(7, 0, beating=False), "b": Heard(7, 0, beating=False)}
    assert ear.take(1, a=6, b=5) == {"a": Heard(7, 0), "b": Heard(7, 1000, beating=False)}
    assert ear.take(1, a=6, b=5)["a"] == Heard(7, 1000)


def test_a_node_that_never_beat_falls_silent_too() -> None:
    ear = Ear()
    ear.take(0)
    for _ in range(13):
        ear.take(1)
    assert ear.hearing.heard(ear.state)["a"] == Heard(0, 13_000, beating=False)


def test_a_counter_that_appears_is_a_beat() -> None:
    ear = Ear()
    ear.take(0)
    assert ear.take(1, a=1)["a"] == Heard(7, 0)


def test_nobody_listened() -> None:
    """While nothing was read, and when the read comes late, no silence is counted."""
    ear = Ear()
    ear.take(0, a=1)
    ear.take(1, a=1)
    ear.now += 60
    assert ear.hearing.heard(ear.state)["a"].silent == 1000
    assert ear.take(0, a=1)["a"].silent == 2000
    assert ear.take(2.5, a=1)["a"].silent == 4500  # that much may happen


def test_nothing_is_looked_through_twice_until_it_changes() -> None:
    ear = Ear()
    ear.take(0, a=1)
    said = ear.take(1, a=2)
    ear.now += 0.5
    assert ear.hearing.heard(ear.state) is said
    ear.state.nodes["c"] = Node("c", "c", "", 1, 1, session=9)
    assert set(ear.hearing.heard(ear.state)) == {"a", "b", "c"}
    ear.state.nodes["b"] = Node("b", "b", "", 1, 1)
    ear.state.topics[FLEET] = 5
    assert set(ear.hearing.heard(ear.state)) == {"a", "c"}


def test_a_takeover_begins_with_fresh_ears() -> None:
    ear = Ear()
    ear.take(0, a=1)
    ear.take(9, a=1)
    ear.hearing.restart()
    assert ear.take(1, a=1)["a"] == Heard(7, 0, beating=False)


def test_removed_and_sessionless_nodes_are_not_spoken_of() -> None:
    ear = Ear()
    ear.take(0, a=1, b=1)
    ear.hearing.heard(ear.state)
    del ear.state.nodes["a"]
    ear.state.nodes["c"] = Node("c", "c", "", 1, 1)
    assert ear.take(5, a=1, b=1).keys() == {"b"}
    ear.state.nodes["a"] = Node("a", "a", "", 9, 9, session=9)
    assert ear.take(1, a=1, b=1)["a"].silent == 0
