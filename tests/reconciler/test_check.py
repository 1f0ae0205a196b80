"""The linter of plans: what it must never let through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from heroctl.domain.events import (
    AllocGivenUp,
    AllocPlaced,
    AllocStopping,
    DeploymentFinished,
    DeploymentStepped,
    Event,
    JobBlocked,
    JobFailed,
    JobReverted,
)
from heroctl.domain.ids import allocation_id
from heroctl.domain.intents import deployments, jobs
from heroctl.domain.records import Job
from heroctl.domain.state import job_status
from reconciler.planner import plan as planning
from reconciler.planner.check import BrokenPlanError, Ledger, check, check_sizes
from reconciler.planner.draft import Draft
from reconciler.planner.piece import Piece
from reconciler.planner.rollout import decide
from reconciler.planner.scene import Scene
from tests.reconciler.cluster import Cluster


def deployed(count: int = 2) -> Cluster:
    cluster = Cluster()
    for name in ("n1", "n2"):
        cluster.join(name)
    cluster.run(count=count, ports={"http": {"container": 80, "host": 80}})
    cluster.settle()
    return cluster


def the_job(cluster: Cluster) -> Job:
    job = cluster.state.job("default", "web")
    assert job is not None
    return job


def sound(cluster: Cluster, **fields: Any) -> AllocPlaced:  # noqa: ANN401 - the event's fields
    """Make a placement into slot 1, on a node of its own, that nothing is wrong with, but for `fields`."""
    node = cluster.join(f"n{len(cluster.state.nodes) + 1}")
    cluster.decide()
    return placing(cluster, **{"node": node.id, "host_ports": (80,), **fields})


def placing(cluster: Cluster, **fields: Any) -> AllocPlaced:  # noqa: ANN401 - the event's fields
    """Make a placement of the present version into slot 1."""
    job = the_job(cluster)
    event = AllocPlaced(
        id=allocation_id(cluster.state.incarnation, job.uid, job.next_n),
        uid=job.uid,
        n=job.next_n,
        namespace="default",
        job="web",
        task="main",
        slot=1,
        version=job.current.version,
        content=job.current.tasks[0].content,
        node=min(cluster.state.nodes),
        cpu=0.5,
        memory=1,
        disk=1,
    )
    return replace(event, **fields)


def gap() -> Cluster:
    """Make a cluster in which slot 1 is empty and its job has not been planned since."""
    cluster = deployed()
    cluster.fail(next(alloc for alloc in cluster.live("web") if alloc.slot == 1))
    return cluster


def test_a_sound_placement_passes() -> None:
    cluster = gap()
    check(cluster.state, the_job(cluster), [sound(cluster)], Ledger())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"cpu": 4.5}, "over-committed"),
        ({"memory": 1 << 40}, "over-committed"),
        ({"disk": 1 << 60}, "over-committed"),
        ({"n": 77}, "not the id"),
        ({"id": "someone"}, "not the id"),
        ({"uid": 3}, "not the id"),
        ({"slot": 2}, "no slot"),
        ({"slot": 0}, "filled"),
        ({"version": 9}, "no task"),
        ({"task": "other"}, "no task"),
        ({"content": "other"}, "no task"),
        ({"node": "nowhere"}, "takes none"),
    ],
)
def test_a_broken_placement_is_refused(fields: dict[str, Any], said: str) -> None:
    cluster = gap()
    event = sound(cluster, **fields)
    with pytest.raises(BrokenPlanError, match=said):
        check(cluster.state, the_job(cluster), [event], Ledger())


@pytest.mark.parametrize("change", [Cluster.hush, lambda cluster, name: cluster.set_eligible(name, eligible=False)])
def test_a_node_that_takes_nothing_gets_nothing(change: Callable[[Cluster, str], None]) -> None:
    cluster = gap()
    event = sound(cluster)
    change(cluster, "n3")
    cluster.wait(13_000)
    for piece in cluster.look().pieces:
        if piece.uid is None:
            cluster.apply(piece)
    with pytest.raises(BrokenPlanError, match="takes none"):
        check(cluster.state, the_job(cluster), [event], Ledger())


def test_a_port_is_given_once() -> None:
    cluster = gap()
    held = next(alloc.node for alloc in cluster.live("web"))
    with pytest.raises(BrokenPlanError, match="port"):
        check(cluster.state, the_job(cluster), [sound(cluster, node=held)], Ledger())


def test_the_ledger_adds_up_what_the_pieces_of_a_plan_take() -> None:
    cluster = gap()
    ledger, event = Ledger(), sound(cluster, cpu=2.5, host_ports=())
    check(cluster.state, the_job(cluster), [event], ledger)
    with pytest.raises(BrokenPlanError, match="over-committed"):
        check(cluster.state, the_job(cluster), [event], ledger)


def test_an_unwanted_job_gets_nothing() -> None:
    cluster = gap()
    cluster.stop("web")
    with pytest.raises(BrokenPlanError, match="nobody wants"):
        check(cluster.state, the_job(cluster), [sound(cluster)], Ledger())


def test_only_what_lives_is_stopped_and_only_once() -> None:
    cluster = deployed()
    job, one = the_job(cluster), cluster.live("web")[0]
    stop = AllocStopping(one.id, "default", "web", "requested")
    check(cluster.state, job, [stop], Ledger())
    cluster.add(stop)
    for event in (stop, AllocGivenUp("someone", "default", "web", "node_lost")):
        with pytest.raises(BrokenPlanError):
            check(cluster.state, job, [event], Ledger())
    cluster.step()
    with pytest.raises(BrokenPlanError):
        check(cluster.state, job, [AllocGivenUp(one.id, "default", "web", "node_lost")], Ledger())


def test_a_piece_has_its_size() -> None:
    told = JobBlocked(1, "default", "web")
    check_sizes([Piece((told,) * 1000)])
    with pytest.raises(BrokenPlanError, match="1001 events"):
        check_sizes([Piece((told,)), Piece((told,) * 1001)])


def test_poison_costs_one_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job whose planning raises, or whose plan is broken, is left alone until it changes; the others go on."""
    cluster = Cluster()
    cluster.join("n1")
    cluster.decide()
    broken = cluster.run("broken").uid
    poison = cluster.run("poison").uid
    cluster.run("web")

    def sometimes(scene: Scene, job: Job) -> Draft:
        draft = decide(scene, job)
        if job.uid == poison:
            raise ZeroDivisionError
        if job.uid == broken:
            draft.events[:] = [_elsewhere(event) for event in draft.events]
        return draft

    monkeypatch.setattr(planning, "decide", sometimes)
    made = cluster.look()
    assert [(fault.uid, type(fault.error)) for fault in made.faults] == [
        (broken, BrokenPlanError),
        (poison, ZeroDivisionError),
    ]
    assert [(piece.uid, piece.events[0].TAG) for piece in made.pieces] == [
        (broken, "job.plan_failed"),
        (poison, "job.plan_failed"),
        (the_job(cluster).uid, "alloc.placed"),
    ]
    while made.pieces:
        for piece in made.pieces:
            cluster.apply(piece)
        made = cluster.look()
    assert made.faults == ()
    job = cluster.state.jobs[poison]
    assert job.quarantined("")
    assert (job_status(cluster.state, job), job.blocked) == (
        "blocked",
        ("quarantined: planning it failed 3 times: ZeroDivisionError: ",),
    )
    cluster.run("poison", "v2")
    assert [fault.uid for fault in cluster.look().faults] == [poison]
    assert not cluster.state.jobs[poison].quarantined("")


def _elsewhere(event: Event) -> Event:
    return replace(event, node="nowhere") if isinstance(event, AllocPlaced) else event


# ── deployments ──────────────────────────────────────────────────────────────────────────────────────────────────────


def updating(**update: Any) -> Cluster:  # noqa: ANN401 - the spec's fields
    """Make a cluster in which two replicas are deployed and a second version was just submitted."""
    cluster = Cluster()
    for name in ("n1", "n2"):
        cluster.join(name)
    cluster.run(count=2)
    cluster.settle()
    cluster.run(args="v2", count=2, update=update)
    return cluster


def refused(cluster: Cluster, said: str, *events: Event) -> None:
    """Expect that a piece is refused."""
    with pytest.raises(BrokenPlanError, match=said):
        check(cluster.state, the_job(cluster), events, Ledger())


def finished(cluster: Cluster, status: Any = "failed") -> DeploymentFinished:  # noqa: ANN401 - of its kinds
    job = the_job(cluster)
    return DeploymentFinished(job.deployment, job.uid, "default", "web", status)


def reverted(cluster: Cluster, version: int = 3, of: int = 1) -> JobReverted:
    job = the_job(cluster)
    return JobReverted(job.uid, "default", "web", version, of, job.deployment)


def test_the_way_back_follows_a_failure_and_leads_to_what_was_deployed() -> None:
    cluster = updating()
    failed, back = finished(cluster), reverted(cluster)
    check(cluster.state, the_job(cluster), [failed, back], Ledger())
    refused(cluster, "nothing to revert", back)
    refused(cluster, "nothing to revert", back, failed)
    refused(cluster, "none to revert to", failed, reverted(cluster, of=2))
    refused(cluster, "none to revert to", failed, reverted(cluster, version=4))
    cluster.add(failed, back)
    refused(cluster, "nothing to revert", finished(cluster), reverted(cluster, version=4))


def test_only_what_goes_on_ends_and_is_told_of_once() -> None:
    cluster = updating()
    job, failed = the_job(cluster), finished(cluster)
    told = JobFailed(job.uid, "default", "web", 2, job.deployment, "why")
    check(cluster.state, job, [failed, told], Ledger())
    refused(cluster, "not deployed", finished(cluster, "successful"))
    cluster.add(failed, told)
    refused(cluster, "is not about", failed)
    refused(cluster, "told already", told)


def test_a_step_is_for_what_waits_for_one() -> None:
    cluster = updating(strategy="canary")
    job = the_job(cluster)
    step = DeploymentStepped(job.deployment, job.uid, "default", "web")
    check(cluster.state, job, [step], Ledger())
    refused(cluster, "no step", replace(step, awaiting=True, promoted=True))
    cluster.do(deployments.pause(cluster.state.deployments[job.deployment]))
    refused(cluster, "no step", step)
    cluster.do(deployments.resume(cluster.state.deployments[job.deployment]))
    cluster.add(replace(step, promoted=True))
    refused(cluster, "no step", step)


def test_nothing_new_comes_beyond_the_canaries_and_while_paused() -> None:
    cluster = updating(strategy="canary")
    second = placing(cluster, slot=1)
    refused(cluster, "1 canaries", second)
    first = replace(second, slot=0)
    check(cluster.state, the_job(cluster), [first], Ledger())
    cluster.do(deployments.pause(cluster.state.deployments[the_job(cluster).deployment]))
    refused(cluster, "paused", first)


def test_a_slot_takes_one_of_a_kind() -> None:
    cluster = updating(max_parallel=2)
    beside = placing(cluster, slot=0)
    check(cluster.state, the_job(cluster), [beside], Ledger())
    other = next(alloc.id for alloc in cluster.live("web") if alloc.slot == 1)
    refused(cluster, "another slot's", replace(beside, replaces=other))
    cluster.add(beside)
    refused(cluster, "filled", placing(cluster, slot=0))
    cluster.do(jobs.restart_job(cluster.state, the_job(cluster), "tester"))
    cluster.settle()
    cluster.do(jobs.restart_job(cluster.state, the_job(cluster), "tester"))
    check(cluster.state, the_job(cluster), [placing(cluster, slot=0)], Ledger())


def test_one_that_is_to_leave_its_node_may_be_followed_on_another() -> None:
    cluster = updating()
    source = next(alloc for alloc in cluster.live("web") if alloc.slot == 0)
    job = the_job(cluster)
    same = placing(cluster, slot=0, version=1, content=source.content, replaces=source.id)
    other = next(node.id for node in cluster.state.nodes.values() if node.id != source.node)
    refused(cluster, "filled", replace(same, node=other))
    cluster.misplace(source)
    refused(cluster, "filled", replace(same, node=source.node))
    refused(cluster, "filled", replace(same, node=other, replaces=""))
    follows = replace(same, node=other)
    check(cluster.state, job, [follows], Ledger())
    cluster.add(follows)
    again = replace(follows, n=follows.n + 1, id=allocation_id(cluster.state.incarnation, job.uid, follows.n + 1))
    refused(cluster, "filled", again)
