"""Who is up, who is down, and when so many are down that it must be us."""

from __future__ import annotations

import pytest

from heroctl.domain.events import BrakeOff, BrakeOn, MemberJoined, MemberLeft, NodeDown, NodeUp
from heroctl.domain.records import Member, Node
from heroctl.domain.state import State
from reconciler.planner.liveness import Census, Heard, brake, liveness, members
from reconciler.planner.piece import Piece
from tests.reconciler.cluster import Cluster

NOW = 1_000_000_000


def census(state: State) -> Census:
    found = Census()
    found.refresh(state)
    return found


def alive(state: State, beats: dict[str, Heard]) -> tuple[list[Piece], int | None]:
    return liveness(state, census(state), beats, NOW)


def braked(state: State) -> BrakeOn | BrakeOff | None:
    return brake(state, census(state), NOW)


def one(heard: Heard, **fields: object) -> tuple[list[str], int | None]:
    node = Node("n1", "n1", "", 1, 1, **fields)  # type: ignore[arg-type] # a node's fields
    pieces, soonest = alive(State(nodes={"n1": node}), {"n1": heard})
    assert all(piece.moves == ("node:n1",) == piece.expects for piece in pieces)
    return [event.TAG for piece in pieces for event in piece.events], soonest


@pytest.mark.parametrize(
    ("heard", "node", "said"),
    [
        (Heard(5, 0), {"session": 5}, [NodeUp.TAG]),
        (Heard(5, 0, beating=False), {"session": 5}, []),
        (Heard(4, 0), {"session": 5}, []),  # a beat of the session before
        (Heard(0, 0), {}, []),  # no session yet
        (Heard(5, 0), {"session": 5, "up": False, "changed": 7}, []),  # no new inventory since it went down
        (Heard(8, 0), {"session": 8, "up": False, "changed": 7}, [NodeUp.TAG]),
        (Heard(8, 13_000), {"session": 8, "up": False, "changed": 7}, [NodeDown.TAG]),  # back, and gone again
        (Heard(8, 13_000), {"session": 8, "up": False, "changed": 7, "session_at": NOW - 12_999}, []),
        (Heard(8, 12_999), {"session": 8, "up": False, "changed": 7, "session_at": 0}, [NodeUp.TAG]),
        (Heard(7, 12_999), {"session": 8, "up": False, "changed": 7, "session_at": 0}, []),
        (Heard(5, 12_999), {"session": 5, "up": True, "changed": 6}, []),
        (Heard(5, 13_000), {"session": 5, "up": True, "changed": 6}, [NodeDown.TAG]),
        (Heard(5, 60_000), {"session": 5, "up": False, "changed": 7}, []),
    ],
)
def test_up_and_down(heard: Heard, node: dict[str, object], said: list[str]) -> None:
    assert one(heard, **node)[0] == said


def test_it_says_when_the_next_could_go_down() -> None:
    assert one(Heard(5, 4_000), session=5, up=True, changed=6) == ([], 9_000)


def test_of_whom_nothing_is_known_nothing_is_decided() -> None:
    node = Node("n1", "n1", "", 1, 1, session=5, up=True)
    assert alive(State(nodes={"n1": node}), {}) == ([], None)


def test_who_came_back_is_looked_at_again_though_it_does_not_beat() -> None:
    since = {"session": 8, "up": False, "changed": 7, "session_at": NOW - 3_000}
    assert one(Heard(5, 60_000), **since) == ([], 10_000)


def test_the_same_beats_are_looked_through_again_when_a_node_is_another() -> None:
    cluster = Cluster()
    for name in ("n1", "n2", "n3"):
        cluster.join(name)
    cluster.decide()
    known, beats = cluster.memo.census, cluster.beats()
    cluster.wait(5_000)
    cluster.hush("n1")
    changes = (cluster.come_back, "n1"), (cluster.drain, "n2"), (cluster.remove, "n3")
    for change, name in changes:
        assert liveness(cluster.state, known, beats, cluster.clock) == ([], 13_000)
        change(name)
        known.refresh(cluster.state)
        fresh = census(cluster.state)
        assert (known.up, known.others, known.drained) == (fresh.up, fresh.others, fresh.drained)
        assert known.quiet(beats) == fresh.quiet(beats)
    assert (len(known.up), len(known.drained)) == (2, 1)


def fleet(ready: int, lost: int, ago: int = 0) -> State:
    """Make a cluster of nodes that are ready, and of some that went down so many ms ago."""
    nodes = [Node(f"up{n}", f"up{n}", "", 1, 1, session=1, up=True) for n in range(ready)]
    nodes += [Node(f"d{n}", f"d{n}", "", 1, 1, session=1, up=False, down_at=NOW - ago) for n in range(lost)]
    return State(nodes={node.id: node for node in nodes})


@pytest.mark.parametrize(
    ("ready", "lost", "ago", "on"),
    [
        (0, 2, 0, False),  # fewer than three are no mass
        (0, 3, 0, True),
        (2, 3, 0, True),
        (9, 11, 0, False),  # 55 % is not above 55 %
        (8, 11, 0, True),
        (0, 3, 60_000, True),
        (0, 3, 60_001, False),  # those were not ready 60 s ago
    ],
)
def test_the_brake_goes_on(ready: int, lost: int, ago: int, on: bool) -> None:  # noqa: FBT001 - a table
    assert braked(fleet(ready, lost, ago)) == (BrakeOn(lost, ready + lost) if on else None)


@pytest.mark.parametrize(("ready", "lost", "off"), [(6, 4, False), (7, 3, True), (10, 0, True), (0, 3, False)])
def test_the_brake_goes_off(ready: int, lost: int, off: bool) -> None:  # noqa: FBT001 - a table
    """However long it lasted: the share is of those who were ready before."""
    state = fleet(ready, lost, 7_200_000)
    state.brake, state.brake_changed = True, NOW - 7_190_000
    assert braked(state) == (BrakeOff("nodes_are_back") if off else None)


def test_those_long_gone_do_not_hold_the_brake() -> None:
    state = fleet(6, 4, 86_400_000)
    state.brake, state.brake_changed = True, NOW - 1_000
    assert braked(state) == BrakeOff("nodes_are_back")


def test_let_go_by_an_operator_it_stays_off() -> None:
    state = fleet(1, 4, 20_000)
    state.brake_changed = NOW - 10_000
    assert braked(state) is None


def test_members_come_and_go() -> None:
    state = State(members={name: Member(name, "api", f"{name}:8080", "1") for name in ("a", "b")})
    live = [Member("a", "api", "a:8080", "1"), Member("c", "reconciler", "c", "1")]
    assert members(state, live) == [MemberLeft("b"), MemberJoined("c", "reconciler", "c", "1")]
    state.members["a"] = Member("a", "api", "a:8080", "0")
    assert MemberJoined("a", "api", "a:8080", "1") in members(state, live)


@pytest.mark.parametrize(
    ("on", "wanted", "said"),
    [
        (False, True, BrakeOn(0, 9, "operator")),
        (True, True, None),  # however few are down
        (True, False, BrakeOff("operator")),
        (True, None, BrakeOff("nodes_are_back")),
        (False, None, None),
    ],
)
def test_an_operator_has_the_last_word(on: bool, wanted: bool | None, said: object) -> None:  # noqa: FBT001 - a table
    state = fleet(9, 0)
    state.brake, state.brake_wanted = on, wanted
    assert braked(state) == said
