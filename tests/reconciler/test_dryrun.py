"""What a dry run tells is what the planner then does, and nobody notices that it was asked."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heroctl.domain.events import AllocPlaced, DeploymentFinished
from heroctl.domain.intents import jobs
from heroctl.domain.intents.deployments import promote
from heroctl.domain.records import Alloc
from reconciler.planner import dryrun
from reconciler.planner.dryrun import Counts, Outlook, dry_run, overlay, total
from tests.domain.worlds import spec
from tests.reconciler.cluster import Cluster

MOST_SECONDS: Final = 3_000
NOTHING: Final = Counts(0, 0, 0, 0)


def cluster(nodes: int = 3, cpu: float = 4) -> Cluster:
    made = Cluster()
    for number in range(nodes):
        made.join(f"n{number}", cpu)
    made.decide()
    return made


def look_ahead(there: Cluster, args: str, **fields: Any) -> Outlook:  # noqa: ANN401 - a spec's fields
    """Run ahead what a submit of web would lead to; the cluster is the same after."""
    before = msgspec.msgpack.encode(there.state)
    job = there.state.job("default", "web")
    change = jobs.submit_job(there.state, spec(job="web", args=[args], **fields), "tester")
    own = overlay(there.state, job.uid if job else 0)
    outlook = dry_run(own, "default", "web", change.events, there.clock)
    assert msgspec.msgpack.encode(there.state) == before
    return outlook


def follow(there: Cluster, args: str, **fields: Any) -> tuple[Counts, Counter[str]]:  # noqa: ANN401 - a spec's fields
    """Submit, let planner and agents work until nothing more happens by itself, and tell what came of it."""
    before = _filled(there)
    there.run("web", args, **fields)
    return _watch(there, before)


def _watch(there: Cluster, before: dict[int, set[str]]) -> tuple[Counts, Counter[str]]:
    placed: Counter[str] = Counter()
    for _ in range(MOST_SECONDS):
        pieces = there.look().pieces
        if any(
            isinstance(event, DeploymentFinished) and event.status == "failed" for p in pieces for event in p.events
        ):
            break
        for piece in pieces:
            placed.update(event.node for event in piece.events if isinstance(event, AllocPlaced))
            there.apply(piece)
        if not pieces and not there.step():
            if all(look.wake is None for look in there.memo.looks.values()):
                break
            there.wait(1_000)
    else:
        raise AssertionError("the cluster does not come to rest")
    return _difference(before, _filled(there)), placed


def _filled(there: Cluster) -> dict[int, set[str]]:
    filled: dict[int, set[str]] = {}
    for alloc in there.live("web"):
        filled.setdefault(alloc.slot, set()).add(alloc.id)
    return filled


def _difference(before: dict[int, set[str]], after: dict[int, set[str]]) -> Counts:
    place = stop = replace = 0
    for slot in before.keys() | after.keys():
        gone = len(before.get(slot, set()) - after.get(slot, set()))
        new = len(after.get(slot, set()) - before.get(slot, set()))
        place, stop, replace = place + max(new - gone, 0), stop + max(gone - new, 0), replace + min(new, gone)
    return Counts(place, stop, replace, 0)


def placed_by(outlook: Outlook) -> Counter[str]:
    """Count what a dry run placed on each node."""
    placed: Counter[str] = Counter()
    for task in outlook.tasks.values():
        placed.update(task.nodes)
    return placed


# ── examples ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_job_is_placed() -> None:
    outlook = look_ahead(cluster(), "v1", count=3)
    assert total(outlook.tasks.values()) == Counts(3, 0, 0, 0)
    assert sorted(outlook.tasks["main"].nodes.values()) == [1, 1, 1]
    assert (outlook.blocked, outlook.promoted, outlook.truncated, outlook.fault) == ((), None, False, None)


def test_an_equal_spec_is_nothing_to_do() -> None:
    there = cluster()
    there.run("web", "v1", count=3)
    there.settle()
    assert look_ahead(there, "v1", count=3) == Outlook({})


@pytest.mark.parametrize(
    ("args", "fields", "expected"),
    [
        ("v2", {"count": 3}, Counts(0, 0, 3, 0)),
        ("v2", {"count": 5}, Counts(2, 0, 3, 0)),
        ("v2", {"count": 1}, Counts(0, 2, 1, 0)),
        ("v1", {"count": 1}, Counts(0, 2, 0, 0)),
        ("v1", {"count": 0}, Counts(0, 3, 0, 0)),
        ("v1", {"count": 4, "restart": {"attempts": 9}}, Counts(1, 0, 0, 3)),
        ("v1", {"count": 3, "update": {"max_parallel": 2}}, NOTHING),
    ],
)
def test_each_replica_is_counted_once(args: str, fields: dict[str, Any], expected: Counts) -> None:
    there = cluster()
    there.run("web", "v1", count=3)
    there.settle()
    assert total(look_ahead(there, args, **fields).tasks.values()) == expected


@pytest.mark.parametrize(
    ("update", "first"),
    [
        ({"strategy": "canary"}, Counts(1, 0, 0, 0)),
        ({"strategy": "blue-green"}, Counts(3, 0, 0, 0)),
    ],
)
def test_what_waits_for_a_promotion_is_told_apart(update: dict[str, Any], first: Counts) -> None:
    there = cluster()
    there.run("web", "v1", count=3)
    there.settle()
    outlook = look_ahead(there, "v2", count=3, update=update)
    assert total(outlook.tasks.values()) == first
    assert outlook.promoted is not None
    assert total(outlook.promoted.values()) == Counts(0, 0, 3, 0)
    by_itself = {update["strategy"].replace("-", "_"): {"auto_promote": True}}
    outlook = look_ahead(there, "v2", count=3, update=update | by_itself)
    assert (total(outlook.tasks.values()), outlook.promoted) == (Counts(0, 0, 3, 0), None)


def test_a_task_that_goes_is_told_of() -> None:
    there = cluster()
    there.do(jobs.submit_job(there.state, spec(job="web", tasks=[_task("main", 1), _task("side", 2)]), "tester"))
    there.settle()
    job = there.state.job("default", "web")
    assert job is not None
    change = jobs.submit_job(there.state, spec(job="web", tasks=[_task("main", 1)]), "tester")
    outlook = dry_run(overlay(there.state, job.uid), "default", "web", change.events, there.clock)
    assert {name: task.counts for name, task in outlook.tasks.items()} == {"main": NOTHING, "side": Counts(0, 2, 0, 0)}


def _task(name: str, count: int) -> dict[str, Any]:
    return {"name": name, "driver": "process", "command": ["serve"], "args": ["v1"], "count": count}


def test_what_fits_nowhere_is_blocked_in_the_planners_own_words() -> None:
    there = cluster(cpu=1)
    outlook = look_ahead(there, "v1", count=5, resources={"cpu": 0.9})
    assert total(outlook.tasks.values()) == Counts(3, 0, 0, 0)
    there.run("web", "v1", count=5, resources={"cpu": 0.9})
    there.decide()
    job = there.state.job("default", "web")
    assert job is not None
    assert outlook.blocked == job.blocked == ("3 nodes: 3 exhausted cpu",)


def test_a_job_that_was_quarantined_is_planned_anew() -> None:
    there = cluster()
    job = there.run("web", "v1", count=1)
    there.state.jobs[job.uid] = msgspec.structs.replace(job, plan_failures=3, blocked=("quarantined",))
    assert look_ahead(there, "v2", count=1).blocked == ()


def test_more_than_may_be_placed_in_a_pass_is_cut_short() -> None:
    there = Cluster()
    there.join("n1", 1_000, memory="1TiB", disk="10TB")
    there.decide()
    small = {"cpu": 0.01, "memory": "1MB", "disk": "1MB"}
    outlook = look_ahead(there, "v1", count=5_000, resources=small)
    assert (total(outlook.tasks.values()).place, outlook.truncated) == (1_000, True)
    exact = look_ahead(there, "v1", count=1_000, resources=small)
    assert (total(exact.tasks.values()).place, exact.truncated) == (1_000, False)


def test_a_long_rollout_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    there = cluster()
    there.run("web", "v1", count=6)
    there.settle()
    monkeypatch.setattr(dryrun, "MAX_EVALUATIONS", 300)
    outlook = look_ahead(there, "v2", count=6)
    assert outlook.truncated
    assert 0 < total(outlook.tasks.values()).replace < 6


def test_a_fault_of_the_planner_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(dryrun, "decide", broken)
    outlook = look_ahead(cluster(), "v1", count=1)
    assert isinstance(outlook.fault, ZeroDivisionError)
    assert total(outlook.tasks.values()) == NOTHING


# ── whatever is there ────────────────────────────────────────────────────────────────────────────────────────────────


def specs() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "args": st.sampled_from(["v1", "v2"]),
            "count": st.integers(0, 6),
            "resources": st.fixed_dictionaries({"cpu": st.sampled_from([0.5, 1.5, 3])}),
            "update": st.fixed_dictionaries(
                {
                    "max_parallel": st.integers(1, 3),
                    "order": st.sampled_from(["start-first", "stop-first"]),
                    "min_healthy_time": st.sampled_from(["0s", "10s"]),
                    "strategy": st.sampled_from(["rolling", "canary", "blue-green", "rainbow"]),
                }
            ),
        },
        optional={"ports": st.just({"http": {"container": 80, "host": 80}})},
    )


def sick(alloc: Alloc, chosen: int) -> bool:
    return alloc.slot == chosen and alloc.health == "healthy"


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    first=specs(),
    then=specs(),
    sizes=st.lists(st.sampled_from([1, 2, 4]), min_size=1, max_size=4),
    other=st.integers(0, 4),
    ill=st.integers(0, 9),
    cordoned=st.booleans(),
)
def test_what_is_told_is_what_is_then_done(
    *, first: dict[str, Any], then: dict[str, Any], sizes: list[int], other: int, ill: int, cordoned: bool
) -> None:
    there = Cluster()
    for number, size in enumerate(sizes):
        there.join(f"n{number}", size)
    there.decide()
    there.run("other", "o", count=other)
    there.decide()
    follow(there, **first)
    for alloc in there.live("web"):
        if sick(alloc, ill):
            there.sicken(alloc)
    if cordoned:
        there.set_eligible("n0", eligible=False)
    there.decide()
    outlook, before = look_ahead(there, **then), _filled(there)
    came, placed = follow(there, **then)
    told = total(outlook.tasks.values())
    assert msgspec.structs.replace(told, in_place=0) == came
    assert placed_by(outlook) == placed
    job = there.state.job("default", "web")
    assert job is not None
    assert not outlook.tasks or outlook.blocked == job.blocked
    awaiting = there.state.deployments[job.deployment].status == "awaiting_promotion"
    assert awaiting == (outlook.promoted is not None)
    if outlook.promoted is not None:
        there.do(promote(there.state.deployments[job.deployment]))
        came, _ = _watch(there, before)
        assert msgspec.structs.replace(total(outlook.promoted.values()), in_place=0) == came
