"""When a failed replica is placed again, and how long its node is barred."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from heroctl.domain.duration import Duration
from heroctl.domain.events import NodeDrainStarted
from heroctl.domain.records import Alloc
from heroctl.domain.spec import Reschedule
from reconciler.planner.plan import Memo
from reconciler.planner.reschedule import BARRED_MS, barred_until, due
from tests.reconciler.cluster import Cluster

FINISHED = 10_000_000
HOUR = 3_600_000


def failed(**fields: Any) -> Alloc:  # noqa: ANN401 - an allocation's fields
    """Make an allocation that has failed at FINISHED."""
    needed: dict[str, Any] = dict.fromkeys(Alloc.__struct_fields__[: -len(Alloc.__struct_defaults__)], 0)
    made = {"id": "abc", "phase": "failed", "finished_at": FINISHED, "reason": "exited"}
    return Alloc(**(needed | made | fields))


@pytest.mark.parametrize(("times", "seconds"), [(0, 30), (1, 60), (2, 120), (6, 1920), (7, 3600), (60, 3600)])
def test_the_delay_doubles_up_to_its_maximum(times: int, seconds: int) -> None:
    when = due(failed(reschedules=times), Reschedule())
    assert when is not None
    at, count = when
    assert seconds * 1000 <= at - FINISHED < seconds * 1125
    assert count == times + 1


def test_those_that_failed_together_do_not_come_back_together() -> None:
    moments = {due(failed(id=f"alloc{number}"), Reschedule()) for number in range(50)}
    assert len(moments) > 40


def test_a_long_healthy_run_begins_anew() -> None:
    after = due(failed(reschedules=5, first_healthy_at=FINISHED - HOUR), Reschedule())
    before = due(failed(reschedules=5, first_healthy_at=FINISHED - HOUR + 1), Reschedule())
    assert after is not None
    assert before is not None
    assert (after[1], before[1]) == (1, 6)


def test_limited_is_once() -> None:
    assert due(failed(), Reschedule(unlimited=False)) is not None
    assert due(failed(reschedules=1), Reschedule(unlimited=False)) is None


def test_no_delay_is_still_a_second() -> None:
    when = due(failed(), Reschedule(delay=Duration(0)))
    assert when is not None
    assert when[0] >= FINISHED + 1000


def test_a_port_in_use_is_its_nodes_fault() -> None:
    """Elsewhere at once, and it counts for nothing; that node waits."""
    alloc = failed(reason="port_in_use", reschedules=3)
    assert due(alloc, Reschedule()) == (FINISHED, 3)
    assert barred_until(alloc) == FINISHED + BARRED_MS
    assert barred_until(failed()) is None
    assert barred_until(failed(reason="port_in_use", finished_at=None)) is None


# ── a slot that fails, and what is remembered of it ──────────────────────────────────────────────────────────────────


def _failing(*nodes: str) -> Cluster:
    """A service of one replica, which fails wherever it is."""
    cluster = Cluster()
    for number, name in enumerate(nodes):
        cluster.join(name, cpu=2 + number)  # the first is the one that would be chosen each time
    cluster.behaviour["v1"] = "fails"
    cluster.run(reschedule={"delay": "30s", "max_delay": "10m"})
    return cluster


def _tries(cluster: Cluster, count: int, *, forget: bool = False) -> list[Alloc]:
    """Let the replica fail so many times, and return each try."""
    tries: list[Alloc] = []
    for _ in range(5_000):
        if forget:
            cluster.memo = Memo()
        cluster.decide()
        tries += [alloc for alloc in cluster.live("web") if not tries or alloc.n > tries[-1].n]
        if len(tries) == count:
            return tries
        cluster.step()
        cluster.wait(1_000)
    raise AssertionError("it is not tried so often")


def test_it_is_tried_on_every_node_before_it_comes_back_to_one_that_it_failed_on() -> None:
    tries = _tries(_failing("n1", "n2", "n3", "n4"), 4)
    assert len({alloc.node for alloc in tries}) == 4


def test_with_nowhere_else_to_go_it_comes_back_and_last_to_where_it_has_just_failed() -> None:
    tries = _tries(_failing("n1", "n2"), 5)
    assert all(one.node != other.node for one, other in itertools.pairwise(tries))
    assert len({alloc.node for alloc in _tries(_failing("n1"), 3)}) == 1


@pytest.mark.parametrize("forget", [False, True])
def test_the_count_and_so_the_delay_is_remembered_over_take_overs(forget: bool) -> None:  # noqa: FBT001 - a parameter
    tries = _tries(_failing("n1", "n2"), 6, forget=forget)
    assert [alloc.reschedules for alloc in tries] == [0, 1, 2, 3, 4, 5]
    waits = [(after.created_at - before.created_at) // 1000 for before, after in itertools.pairwise(tries)]
    assert all(
        seconds <= waited < seconds * 1.2 + 3 for seconds, waited in zip((30, 60, 120, 240, 480), waits, strict=True)
    )


def test_a_node_that_is_lost_does_not_make_a_slot_forget_how_often_it_failed() -> None:
    cluster = _failing("n1", "n2", "n3")
    third = _tries(cluster, 3)[-1]
    cluster.behaviour["v1"] = ""
    cluster.step()
    cluster.hush(cluster.state.nodes[third.node].name)
    cluster.wait(30_000)
    cluster.decide()
    cluster.wait(30_000)
    cluster.decide()
    [again] = cluster.live("web")
    assert (again.replaces, again.reschedules) == (third.id, 2)


def test_nor_does_a_move_off_a_drained_node() -> None:
    cluster = _failing("n1", "n2", "n3")
    third = _tries(cluster, 3)[-1]
    cluster.behaviour["v1"] = ""
    cluster.step()
    node = cluster.state.nodes[third.node]
    cluster.add(NodeDrainStarted(node.id, node.name, 600, ignore_system=False))
    cluster.decide()
    again = next(alloc for alloc in cluster.live("web") if alloc.replaces == third.id)
    assert (again.node != third.node, again.reschedules) == (True, 2)
