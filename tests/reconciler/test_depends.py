"""What waits for what: who is held back, who is not, and what wakes whoever waits."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from heroctl.domain.events import AllocPlaced
from heroctl.domain.intents import jobs, namespaces
from heroctl.domain.records import Alloc, Job
from heroctl.domain.state import job_status
from reconciler.planner import plan as planning
from reconciler.planner.dryrun import dry_run, overlay
from reconciler.planner.explain import explain
from reconciler.planner.place import Fleet
from tests.domain.worlds import spec
from tests.reconciler.cluster import Cluster


def cluster(nodes: int = 2) -> Cluster:
    made = Cluster()
    for number in range(nodes):
        made.join(f"n{number}")
    made.decide()
    return made


def pair(args: str, count: int = 1, **web: Any) -> dict[str, Any]:  # noqa: ANN401 - a spec's fields
    """Make the tasks of a job of which one waits for the other."""
    plain = {"driver": "process", "command": ["serve"], "args": [args], "count": count}
    return {"tasks": [{"name": "db", **plain, **web}, {"name": "web", "depends_on": [{"task": "db"}], **plain, **web}]}


def submit(made: Cluster, name: str = "shop", **fields: Any) -> Job:  # noqa: ANN401 - a spec's fields
    args = {} if "tasks" in fields else {"args": ["v1"]}
    made.do(jobs.submit_job(made.state, spec(job=name, **{**args, **fields}), "tester"))
    job = made.state.job(fields.get("namespace", "default"), name)
    assert job is not None
    return job


def of_task(made: Cluster, task: str) -> list[Alloc]:
    return [alloc for alloc in made.live("shop") if alloc.task == task]


# ── tasks of one job ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_tasks_of_a_version_go_out_in_their_order() -> None:
    made = cluster()
    made.behaviour["v1"] = "slow"
    submit(made, **pair("v1"))
    made.decide()
    assert [alloc.task for alloc in made.live("shop")] == ["db"]
    assert submit(made, **pair("v1")).blocked == ("web: waits for shop.db to be healthy",)
    made.settle()
    assert sorted((alloc.task, alloc.health) for alloc in made.live("shop")) == [("db", "healthy"), ("web", "healthy")]


def test_a_new_version_of_one_waits_for_that_of_the_other() -> None:
    made = cluster()
    submit(made, **pair("v1"))
    made.settle()
    made.behaviour["v2"] = "slow"
    submit(made, **pair("v2"))
    made.decide()
    assert {alloc.version for alloc in of_task(made, "web")} == {1}
    assert {alloc.version for alloc in of_task(made, "db")} == {1, 2}
    made.settle()
    assert {alloc.version for alloc in made.live("shop")} == {2}


def test_canaries_of_one_wait_for_the_canaries_of_the_other_and_for_no_more() -> None:
    made = cluster()
    submit(made, **pair("v1", 3))
    made.settle()
    submit(made, **pair("v2", 3, update={"strategy": "canary", "canary": {"count": 1}}))
    made.settle()
    job = made.state.job("default", "shop")
    assert job is not None
    assert made.state.deployments[job.deployment].status == "awaiting_promotion"
    assert sorted(alloc.task for alloc in made.live("shop") if alloc.version == 2) == ["db", "web"]


def test_the_way_back_waits_for_nobody() -> None:
    made = cluster()
    submit(made, "db", args=["d1"])
    submit(made, args=["v1"], depends_on=[{"job": "db"}])
    made.settle()
    made.behaviour["v2"] = "fails"
    submit(made, args=["v2"], depends_on=[{"job": "db"}])
    made.decide()
    made.stop("db")
    made.settle()
    job = made.state.job("default", "shop")
    assert job is not None
    assert (job.current.kind, job.blocked) == ("revert", ())
    assert [alloc.health for alloc in made.live("shop")] == ["healthy"]


def test_what_never_got_so_far_is_no_way_round_for_the_next_version() -> None:
    made = cluster()
    submit(made, "db", args=["d1"])
    submit(made, args=["v1"], depends_on=[{"job": "db"}])
    made.decide()
    made.step()
    made.decide()
    made.sicken(made.live("db")[0])
    made.fail(made.live("shop")[0])
    submit(made, args=["v2"], depends_on=[{"job": "db"}])
    made.decide()
    assert [alloc.version for alloc in made.live("shop")] == []
    assert submit(made, args=["v2"], depends_on=[{"job": "db"}]).blocked == ("waits for db.main to be healthy",)
    made.sick.clear()
    made.settle()
    assert [alloc.version for alloc in made.live("shop")] == [2]


# ── other jobs ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_running_is_less_than_healthy() -> None:
    made = cluster()
    made.behaviour["d1"] = "sick"
    submit(made, "db", args=["d1"])
    submit(made, "web", depends_on=[{"job": "db"}])
    submit(made, "log", depends_on=[{"job": "db", "condition": "running"}])
    made.decide()
    made.step()
    made.decide()
    assert (len(made.live("log")), len(made.live("web"))) == (1, 0)


def test_a_job_of_another_namespace_is_another_job() -> None:
    made = cluster()
    made.do(namespaces.create_namespace(made.state, "lab", ""))
    submit(made, "db", namespace="lab")
    made.settle()
    job = submit(made, "web", depends_on=[{"job": "db"}])
    made.decide()
    assert made.state.jobs[job.uid].blocked == ("waits for job db, which does not exist",)


def test_only_what_is_waited_for_wakes() -> None:
    """Nothing turns in a circle, and nothing else that moves is looked at for it."""
    made = cluster()
    job = submit(made, "web", depends_on=[{"job": "db"}])
    submit(made, "other")
    made.decide()
    made.run("other", "v2")
    made.decide()
    assert not planned(made, job.uid)
    submit(made, "db")
    assert planned(made, job.uid)
    made.decide()
    made.step()
    assert planned(made, job.uid)


def planned(made: Cluster, uid: int) -> bool:
    """Tell whether the next pass looks at a job."""
    look = made.memo.looks.get(uid)
    passing = planning.steps(made.state, made.beats(), made.clock, made.memo, None)
    looked = False
    while True:
        try:
            looked |= next(passing) == uid
        except StopIteration:
            break
    if look is not None:
        made.memo.looks[uid] = look
    return looked


# ── what is said ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_is_said_wherever_somebody_asks() -> None:
    made = cluster()
    job = submit(made, "web", depends_on=[{"job": "db"}])
    made.decide()
    job = made.state.jobs[job.uid]
    assert job_status(made.state, job) == "blocked"
    [slot] = explain(made.state, job, made.clock, Fleet()).slots
    assert (slot.standing, slot.words) == ("depends", "main[0]: waits for job db, which does not exist")
    change = jobs.submit_job(made.state, spec(job="log", depends_on=[{"job": "web"}]), "tester")
    ahead = dry_run(overlay(made.state, 0), "default", "log", change.events, made.clock)
    assert ahead.blocked == ("waits for web.main to be healthy",)


# ── whatever happens ─────────────────────────────────────────────────────────────────────────────────────────────────

STEPS = st.lists(
    st.sampled_from(["db v1", "db v2", "web v1", "web v2", "sick", "lose", "stop", "settle", "step"]),
    min_size=3,
    max_size=14,
)


@settings(max_examples=60)
@given(STEPS)
def test_nobody_starts_before_what_it_waits_for_and_everybody_does_then(steps: list[str]) -> None:
    made = cluster(3)
    for step in steps:
        act(made, step)
        while made.look().pieces:
            for piece in made.look().pieces:
                firsts = [event for event in piece.events if isinstance(event, AllocPlaced) and is_first(made, event)]
                assert not firsts or stands(made)
                made.apply(piece)
    made.sick.clear()
    made.run("db", "v9", count=2)
    made.settle(400)
    if (web := made.state.job("default", "web")) is not None and web.wanted:
        assert (web.blocked, len([alloc for alloc in made.live("web") if alloc.health == "healthy"])) == ((), 2)


def act(made: Cluster, step: str) -> None:
    match step.split():
        case ["db", args]:
            made.run("db", args, count=2)
        case ["web", args]:
            made.run("web", args, count=2, depends_on=[{"job": "db"}])
        case ["sick"] if made.live("db"):
            made.sicken(made.live("db")[0])
        case ["lose"] if made.live("web"):
            made.fail(made.live("web")[0])
        case ["stop"] if made.state.job("default", "db") is not None:
            made.stop("db")
        case ["settle"]:
            made.settle(400)
        case _:
            made.step()
            made.wait(1_000)


def is_first(made: Cluster, event: AllocPlaced) -> bool:
    """Tell whether nothing of what is placed has been in its slot, and nothing of it was lost there."""
    job = made.state.jobs[event.uid]
    reverts = made.state.deployments[job.deployment].kind == "revert"
    before = [alloc for alloc in made.allocs(event.job) if alloc.slot == event.slot]
    return event.job == "web" and not reverts and all(alloc.content != event.content for alloc in before)


def stands(made: Cluster) -> bool:
    return len({alloc.slot for alloc in made.live("db") if alloc.health == "healthy"}) == 2
