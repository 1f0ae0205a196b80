"""Placement is exact: it picks what asking every node every time would pick."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from heroctl.domain.allowance import Allowance
from heroctl.domain.assignment import Capacity, Driver
from heroctl.domain.records import Node, Usage
from heroctl.domain.spec import Affinity, Constraint, Spread, Task
from heroctl.domain.state import State
from heroctl.domain.topics import node_topic
from reconciler.planner.filters import Ask, Room, lacks, reasons
from reconciler.planner.picker import Picker
from reconciler.planner.place import Fleet
from tests.reconciler.naive import naive

GIB = 1 << 30
WANTS = [Constraint("${node.labels.disk}", "=", "ssd"), Constraint("${node.name}", "!=", "n03")]
LIKES = [
    Affinity("${node.labels.zone}", "=", "y", 40),
    Affinity("${node.labels.disk}", "is_set", weight=-100),
    Affinity("${node.id}", "in", ("n01", "n05"), weight=25),
]
LABELS = [
    {"rack": "a", "zone": "x"},
    {"rack": "b", "zone": "x", "disk": "ssd"},
    {"rack": "c", "zone": "y", "disk": "ssd"},
    {"rack": "c", "disk": "hdd"},
    {"zone": "y"},
]
ASKS = [
    Ask("docker", 500, GIB // 2, 0),
    Ask("docker", 1000, GIB // 4, GIB),
    Ask("process", 100, GIB, 0),
    Ask("docker", 250, GIB // 4, 0, (80,)),
    Ask("docker", 10, 0, 0, (80, 443)),
    Ask("docker", 250, GIB // 4, 0, over=("${node.labels.rack}",)),
    Ask("docker", 250, GIB // 4, 0, over=("${node.labels.rack}", "${node.name}"), alone=True),
    Ask("docker", 100, GIB // 8, 0, over=("${node.labels.rack}", "${node.labels.zone}"), affinities=(LIKES[0],)),
    Ask("docker", 100, GIB // 8, 0, constraints=(WANTS[0],), affinities=tuple(LIKES)),
    Ask("docker", 100, GIB // 8, 0, constraints=tuple(WANTS), alone=True),
    Ask("docker", 100, 0, 0, volumes=("default/data",)),
]
SPREADS = [{}, {"a": 50}, {"a": 70, "b": 30}, {"a": 20, "*": 80}, {"gone": 50, "a": 10}]
CAPACITIES = [Capacity(4, 8 * GIB, 100 * GIB), Capacity(2, 2 * GIB, GIB), Capacity(16, 4 * GIB, 10 * GIB), Capacity()]
DRIVERS = [{"docker": True}, {"docker": True, "process": True}, {"docker": False, "process": True}, {}]


Step = Callable[["Nodes", Fleet], None]


class Nodes:
    """A state of nodes alone, changed by hand, with the indexes that go with it."""

    def __init__(self) -> None:
        self.state = State(index=1)
        self.dirty = True
        self.spreads = False

    def set_up(self, *, spreads: bool) -> None:
        """Set how nodes are filled."""
        self.dirty = True
        self.spreads = spreads
        self.state.index += 1
        self.state.settings["placement"] = "spread" if spreads else "binpack"
        self.state.topics["settings"] = self.state.index

    def put(self, number: int, **fields: Any) -> None:  # noqa: ANN401 - a node's fields
        """Make or change a node."""
        self.dirty = True
        state = self.state
        state.index += 1
        node = f"n{number:02}"
        known = state.nodes.get(node) or Node(node, node, "", 1, 1, up=True)
        state.nodes[node] = replace(known, **fields)
        state.topics[node_topic(node)] = state.topics["nodes"] = state.index

    def change(self, number: int, **fields: Any) -> None:  # noqa: ANN401 - a node's fields
        """Change a node if it is there."""
        if f"n{number:02}" in self.state.nodes:
            self.put(number, **fields)

    def remove(self, number: int) -> None:
        """Take a node away."""
        self.dirty = True
        self.state.index += 1
        if self.state.nodes.pop(f"n{number:02}", None):
            self.state.topics["nodes"] = self.state.index

    def use(self, number: int, amount: int) -> None:
        """Reserve something on a node beside the planner."""
        self.state.usage[f"n{number:02}"] = Usage(cpu=amount, memory=amount)
        self.change(number)


class Group(NamedTuple):
    """Replicas of one task, placed one after the other."""

    ask: Ask
    many: int
    replicas: int
    near: dict[int, int]
    barred: set[int]
    avoid: list[int]
    targets: dict[str, int]
    held: set[int]

    def place(self, nodes: Nodes, fleet: Fleet) -> None:
        """Place them, asking both ways before each."""
        if nodes.dirty:
            fleet.refresh(nodes.state)
            nodes.dirty = False
        near = {f"n{number:02}": held for number, held in self.near.items()}
        barred = frozenset(f"n{number:02}" for number in self.barred)
        held = frozenset(f"n{number:02}" for number in self.held)
        spread = [
            Spread(attribute, self.targets if not number else {}) for number, attribute in enumerate(self.ask.over)
        ]
        closed = {*barred, *held, *near} if self.ask.alone else set(barred)
        with Picker(fleet, self.ask, self.replicas, near, barred, spread=spread, held=held) as picker:
            for turn in range(self.many):
                avoid = f"n{self.avoid[turn]:02}" if turn < len(self.avoid) else ""
                other = naive(
                    fleet.rooms,
                    self.ask,
                    self.replicas,
                    near,
                    closed | {avoid},
                    spreads=nodes.spreads,
                    targets=self.targets,
                )
                expected = other or (avoid if avoid and picker.can(avoid) else None)
                assert picker.possible(avoid) == (other is not None)
                picked = picker.pick_other(avoid) if turn % 4 == 3 else picker.pick((avoid,))
                assert picked == (other if turn % 4 == 3 else expected)
                closed.update([picked] if self.ask.alone and picked else [])
                if turn % 3 == 2 and near:
                    picker.leave(min(near))
                elif turn % 5 == 4 and near:
                    node = max(near)
                    picker.leave(node)
                    picker.come_back(node)


def put(number: int, capacity: Capacity, drivers: dict[str, bool]) -> Step:
    offered = {name: Driver(healthy=healthy) for name, healthy in drivers.items()}
    labels = LABELS[number % len(LABELS)]
    return lambda nodes, _: nodes.put(number, capacity=capacity, drivers=offered, labels=labels)


def label(number: int, labels: dict[str, str]) -> Step:
    return lambda nodes, _: nodes.change(number, labels=labels)


def fill(spreads: bool) -> Step:  # noqa: FBT001 - a strategy's argument
    return lambda nodes, _: nodes.set_up(spreads=spreads)


def set_up(number: int, up: bool | None) -> Step:  # noqa: FBT001 - a strategy's argument
    return lambda nodes, _: nodes.change(number, up=up)


def set_eligible(number: int, eligible: bool) -> Step:  # noqa: FBT001 - a strategy's argument
    return lambda nodes, _: nodes.change(number, eligible=eligible)


def use(number: int, amount: int) -> Step:
    return lambda nodes, _: nodes.use(number, amount)


def remove(number: int) -> Step:
    return lambda nodes, _: nodes.remove(number)


def begin_pass() -> Step:
    return lambda nodes, fleet: fleet.refresh(nodes.state)


numbers = st.integers(0, 11)
groups = st.builds(
    Group,
    ask=st.sampled_from([*ASKS[:2] * 2, *ASKS[2:]]),
    many=st.integers(1, 12),
    replicas=st.integers(1, 20),
    near=st.dictionaries(numbers, st.integers(1, 3), max_size=3),
    barred=st.sets(numbers, max_size=2),
    avoid=st.lists(numbers, max_size=4),
    targets=st.sampled_from(SPREADS),
    held=st.sets(numbers, max_size=1),
)
steps = st.one_of(
    st.builds(put, numbers, st.sampled_from(CAPACITIES), st.sampled_from(DRIVERS)),
    st.builds(set_up, numbers, st.sampled_from([True, False, None])),
    st.builds(set_eligible, numbers, st.booleans()),
    st.builds(use, numbers, st.integers(0, 4000)),
    st.builds(remove, numbers),
    st.builds(begin_pass),
    st.builds(label, numbers, st.sampled_from(LABELS)),
    st.builds(fill, st.booleans()),
    *[groups.map(lambda group: group.place)] * 6,
)


@settings(max_examples=300)
@given(st.lists(steps, min_size=5, max_size=60))
def test_it_picks_what_asking_every_node_would_pick(steps: list[Step]) -> None:
    """Through changes of the nodes, several shapes and several passes over the same heaps."""
    nodes, fleet = Nodes(), Fleet()
    for number in range(8):
        put(number, CAPACITIES[number % 3], DRIVERS[number % 3])(nodes, fleet)
    for step in steps:
        step(nodes, fleet)


def test_a_refresh_forgets_what_was_decided_and_not_appended() -> None:
    nodes, fleet = Nodes(), Fleet()
    nodes.put(1, capacity=Capacity(1, GIB, GIB), drivers={"docker": Driver(healthy=True)})
    for _ in range(3):
        fleet.refresh(nodes.state)
        with Picker(fleet, Ask("docker", 1000, 0, 0), 1, {}, frozenset()) as picker:
            assert picker.pick() == "n01"
            assert picker.pick() is None


def test_few_replicas_spread_and_many_pack() -> None:
    nodes = Nodes()
    for number in range(4):
        nodes.put(number, capacity=CAPACITIES[0], drivers={"docker": Driver(healthy=True)})
    picked = {}
    for count in (4, 16):
        fleet = Fleet()
        fleet.refresh(nodes.state)
        near: dict[str, int] = {}
        with Picker(fleet, Ask("docker", 250, GIB // 2, 0), count, near, frozenset()) as picker:
            for _ in range(count):
                picker.pick()
        picked[count] = sorted(near.values())
    assert picked[4] == [1, 1, 1, 1]
    assert len(picked[16]) == 2


@pytest.mark.parametrize(
    ("room", "missing"),
    [
        ({"up": None}, "not up yet"),
        ({"up": False}, "down"),
        ({"eligible": False}, "not eligible"),
        ({"drivers": {}}, "lacks driver docker"),
        ({"drivers": {"docker": Driver(healthy=False)}}, "driver docker unhealthy"),
        ({"labels": {"disk": "hdd"}}, "constraint ${node.labels.disk} = ssd"),
        ({"labels": {}}, "constraint ${node.labels.disk} = ssd"),
        ({"volumes": {"default/data"}}, "volume data in use"),
        ({"ports": {443}}, "port 443 taken"),
        ({"free_cpu": 9}, "exhausted cpu"),
        ({"free_memory": -1}, "exhausted memory"),
        ({"free_disk": -1}, "exhausted disk"),
        ({}, None),
    ],
)
def test_every_no_explains_itself(room: dict[str, object], missing: str | None) -> None:
    node = Node("n1", "n1", "", 1, 1, up=True, capacity=CAPACITIES[0], drivers={"docker": Driver(healthy=True)})
    node = replace(node, labels={"disk": "ssd"})
    made = Room(replace(node, **{name: value for name, value in room.items() if hasattr(node, name)}), Usage(), 1)
    for name, value in room.items():
        if not hasattr(node, name):
            setattr(made, name, value)
    ask = ASKS[4]._replace(constraints=(WANTS[0],), volumes=("default/data",))
    assert lacks(made, ask) == missing
    fleet = Fleet()
    fleet.rooms["n1"] = made
    assert fleet.fits(made, ask) == (missing is None)


def test_a_node_that_does_not_allow_it_says_so() -> None:
    task = Task(name="web", image="shop:1", privileged=True)
    node = Node("n1", "n1", "", 1, 1, up=True, capacity=CAPACITIES[0], drivers={"docker": Driver(healthy=True)})
    open_node = replace(node, attributes=Allowance(privileged=True).attributes())
    missing = [lacks(Room(each, Usage(), 1), Ask.of(task)) for each in (node, open_node)]
    assert missing == ["not allowing privileged containers", None]


def test_reasons_are_summed_up_by_how_many_nodes_they_concern() -> None:
    assert reasons([]) == "no nodes"
    assert reasons(["down"]) == "1 node: 1 down"
    assert reasons(["exhausted memory", "down", "down"]) == "3 nodes: 2 down, 1 exhausted memory"
