"""What holds of every plan, over histories that nobody thought of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heroctl.domain import spec as specs
from heroctl.domain.errors import Conflict
from heroctl.domain.intents import balance, deployments, jobs
from heroctl.domain.intents.change import Change
from heroctl.domain.records import Alloc, Deployment, Job
from heroctl.domain.state import State
from tests.reconciler.watched import Watched

Act = Callable[[Watched], None]

JOBS: Final = ("web", "api", "db")
NODES: Final = ("n1", "n2", "n3", "n4")
VERSIONS: Final = ("v1", "v2", "v3")


def join(name: str, cpu: int) -> Act:
    def act(cluster: Watched) -> None:
        if name not in cluster.state.node_names:
            cluster.join(name, cpu)

    return act


def with_node(name: str, do: Callable[[Watched, str], None]) -> Act:
    def act(cluster: Watched) -> None:
        if name in cluster.state.node_names:
            do(cluster, name)

    return act


def with_job(name: str, do: Callable[[Watched, str], None]) -> Act:
    def act(cluster: Watched) -> None:
        if cluster.state.job("default", name) is not None:
            do(cluster, name)

    return act


def wish(name: str, want: Callable[[State, Job], Change]) -> Act:
    """Want something of a job that is there; what is refused changes nothing."""

    def act(cluster: Watched) -> None:
        job = cluster.state.job("default", name)
        if job is not None:
            try:
                cluster.do(want(cluster.state, job))
            except Conflict:
                return

    return act


def judge(name: str, want: Callable[[Deployment], Change]) -> Act:
    """Want something of a job's deployment; what is refused changes nothing."""

    def act(cluster: Watched) -> None:
        job = cluster.state.job("default", name)
        if job is not None:
            wish(name, lambda state, job: want(state.deployments[job.deployment]))(cluster)

    return act


def run(name: str, args: str, fields: dict[str, Any]) -> Act:
    return lambda cluster: void(cluster.run(name, args, **fields))


def release(name: str, args: str, fields: dict[str, Any], how: str, seconds: int) -> Act:
    """Submit a version whose containers turn out so or so, and let everybody do their work for a while."""

    def act(cluster: Watched) -> None:
        cluster.behaviour[args] = how
        cluster.run(name, args, **fields)
        live(seconds)(cluster)

    return act


def with_alloc(name: str, number: int, do: Callable[[Watched, Alloc], None]) -> Act:
    """Do something to an allocation whose agent can be heard."""

    def act(cluster: Watched) -> None:
        live = [alloc for alloc in cluster.live(name) if alloc.node not in cluster.silent]
        if live:
            do(cluster, live[number % len(live)])

    return act


def admit(cluster: Watched, name: str) -> None:
    """Let allocations come to a node again, unless it is drained."""
    if cluster.state.nodes[cluster.state.node_names[name]].drain is None:
        cluster.set_eligible(name, eligible=True)


def void(_: object) -> None:
    """Return nothing."""


def behave(args: str, how: str) -> Act:
    return lambda cluster: cluster.behaviour.update({args: how})


def live(seconds: int) -> Act:
    """Let everybody do their work for a while."""

    def act(cluster: Watched) -> None:
        for _ in range(seconds):
            cluster.decide()
            cluster.step()
            cluster.wait(1_000)
        cluster.decide()

    return act


def write_secret(name: str) -> Act:
    return lambda cluster: cluster.write_secret(name)


def wait(ms: int) -> Act:
    return lambda cluster: cluster.wait(ms)


nodes = st.sampled_from(NODES)
names = st.sampled_from(("web", *JOBS))  # the one that is deployed already more often than others
behaviours = st.sampled_from(["works", "works", "fails", "sick", "slow"])
slots = st.integers(0, 4)
versions = st.sampled_from(VERSIONS)


def fields(policies: st.SearchStrategy[bool]) -> st.SearchStrategy[dict[str, Any]]:
    """Give specs; `policies`: whether failed replicas are rescheduled without end."""
    return st.fixed_dictionaries(
        {
            "count": st.integers(0, 5),
            "update": st.one_of(updates(), strategies().flatmap(updates)),
            "reschedule": st.fixed_dictionaries({"delay": st.sampled_from(["1s", "30s"]), "unlimited": policies}),
        },
        optional={
            "ports": st.just({"http": {"container": 80, "host": 80}}),
            "migrate": st.fixed_dictionaries(
                {"max_parallel": st.integers(1, 2), "order": st.sampled_from(["start-first", "stop-first"])}
            ),
            "resources": st.fixed_dictionaries({"cpu": st.sampled_from([0.5, 1.5, 3])}),
            "env": st.sampled_from([{"DB": "${secret.db}"}, {"DB": "${secret.db}", "KEY": "${secret.key}"}]),
            "on_secret_change": st.sampled_from(["restart", "none"]),
            "on_disconnect": st.sampled_from(
                [{"lost_after": "30s"}, {"mode": "keep"}, {"mode": "stop", "lost_after": "60s"}]
            ),
        },
    )


def strategies() -> st.SearchStrategy[dict[str, Any]]:
    """Give how versions follow one another."""
    canary = {
        "count": st.integers(1, 3),
        "steps": st.sampled_from([[10], [10, 50]]),
        "pause": st.sampled_from(["5s", "20m"]),
        "auto_promote": st.booleans(),
    }
    blue_green = {"auto_promote": st.booleans(), "keep_old": st.sampled_from(["5s", "10m"])}
    rainbow = {"keep": st.integers(1, 2)}
    return st.one_of(
        st.fixed_dictionaries({"strategy": st.just("canary"), "canary": st.fixed_dictionaries(canary)}),
        st.fixed_dictionaries({"strategy": st.just("blue-green"), "blue_green": st.fixed_dictionaries(blue_green)}),
        st.fixed_dictionaries({"strategy": st.just("rainbow"), "rainbow": st.fixed_dictionaries(rainbow)}),
    )


def updates(strategy: dict[str, Any] | None = None) -> st.SearchStrategy[dict[str, Any]]:
    """Give how an update goes."""
    known = {
        "max_parallel": st.integers(1, 3),
        "order": st.sampled_from(["start-first", "stop-first"]),
        "min_healthy_time": st.sampled_from(["0s", "10s"]),
        "auto_revert": st.booleans(),
    }
    return st.fixed_dictionaries(known).map(lambda update: {**update, **(strategy or {})})


def histories(policies: st.SearchStrategy[bool]) -> st.SearchStrategy[list[Act]]:
    """Give things that happen, one after the other."""
    weighted: list[tuple[int, st.SearchStrategy[Act]]] = [
        (2, st.builds(join, nodes, st.sampled_from([1, 2, 4]))),
        (4, st.builds(with_node, nodes, st.just(Watched.hush))),
        (3, st.builds(with_node, nodes, st.just(Watched.come_back))),
        (1, st.builds(with_node, nodes, st.just(Watched.remove))),
        (1, st.builds(with_node, nodes, st.just(lambda cluster, name: cluster.set_eligible(name, eligible=False)))),
        (1, st.builds(with_node, nodes, st.just(admit))),
        (2, st.builds(with_node, nodes, st.just(lambda cluster, name: cluster.drain(name)))),
        (1, st.builds(with_node, nodes, st.just(lambda cluster, name: cluster.drain(name, 5)))),
        (2, st.builds(with_node, nodes, st.just(Watched.cancel_drain))),
        (1, st.builds(with_alloc, names, slots, st.just(lambda cluster, one: cluster.misplace(one)))),
        (4, st.builds(run, names, versions, fields(policies))),
        (1, st.builds(with_job, names, st.sampled_from([Watched.stop, Watched.delete]))),
        (2, st.builds(with_alloc, names, slots, st.just(lambda cluster, one: cluster.do(jobs.stop_alloc(one))))),
        (2, st.builds(with_alloc, names, slots, st.just(lambda cluster, one: cluster.fail(one)))),
        (1, st.builds(with_alloc, names, slots, st.just(lambda cluster, one: cluster.fail(one, "port_in_use")))),
        (2, st.builds(with_alloc, names, slots, st.just(lambda cluster, one: cluster.sicken(one)))),
        (6, st.builds(release, names, versions, fields(policies), behaviours, st.sampled_from([0, 1, 5, 12, 45]))),
        (2, st.builds(behave, versions, behaviours)),
        (2, st.builds(judge, names, st.sampled_from([promote, step]))),
        (1, st.builds(judge, names, st.just(deployments.pause))),
        (2, st.builds(judge, names, st.just(deployments.resume))),
        (1, st.builds(judge, names, st.just(deployments.fail))),
        (1, st.builds(wish, names, st.just(lambda state, job: jobs.restart_job(state, job, "tester")))),
        (1, st.builds(wish, names, st.just(lambda state, job: jobs.rollback_job(state, job, None, "tester")))),
        (1, st.builds(wish, names, st.just(lambda _, job: balance.rebalance_job(job)))),
        (2, st.builds(wish, names, st.builds(scaling, st.integers(0, 5)))),
        (3, st.builds(write_secret, st.sampled_from(["db", "key"]))),
        (2, st.builds(wait, st.sampled_from([500, 5_000, 13_000, 30_000, 120_000, 600_000]))),
        (6, st.builds(live, st.sampled_from([1, 5, 20, 45]))),
        (3, st.just(lambda cluster: void(cluster.decide()))),
        (3, st.just(lambda cluster: void(cluster.step()))),
    ]
    acts = st.one_of([strategy for weight, strategy in weighted for _ in range(weight)])
    return st.lists(acts, min_size=8, max_size=40)


def promote(deployment: Deployment) -> Change:
    return deployments.promote(deployment)


def step(deployment: Deployment) -> Change:
    return deployments.promote(deployment, step=True)


def scaling(count: int) -> Callable[[State, Job], Change]:
    return lambda _, job: jobs.scale_job(job, "main", count, "tester")


def begun() -> Watched:
    """Make a cluster of three nodes with a job deployed."""
    cluster = Watched()
    for name in NODES[:3]:
        cluster.join(name, 2)
    cluster.run("web", "v1", count=3)
    live(12)(cluster)
    return cluster


def check_filled(cluster: Watched, job: Job) -> None:
    """Every slot of a job is filled, by one that is healthy; of a job that nobody wants, none is."""
    task = specs.decode(job.current.spec).tasks[0]
    count = task.count if job.wanted else 0
    filled = {(alloc.slot, alloc.health) for alloc in cluster.state.allocs_of(job.uid) if alloc.live}
    assert filled == {(slot, "healthy") for slot in range(count)}
    assert job.blocked == ()


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(histories(st.booleans()))
def test_whatever_happened_the_next_good_version_is_deployed(history: list[Act]) -> None:
    """On the way `Watched` looks at every decision; in the end, when all is well, every job is as it is wanted."""
    cluster = begun()
    for act in history:
        act(cluster)
    for name in JOBS:
        job = cluster.state.job("default", name)
        if job is not None and job.wanted:
            cluster.run(name, "last", count=specs.decode(job.current.spec).tasks[0].count)
    cluster.heal()
    for job in cluster.state.jobs.values():
        check_filled(cluster, job)
        assert {alloc.content for alloc in cluster.live(job.name)} <= {job.current.tasks[0].content}
        assert not job.wanted or cluster.state.deployments[job.deployment].status == "successful"
    assert cluster.look().pieces == ()


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(histories(st.just(True)))
def test_whatever_happened_every_slot_is_filled_again(history: list[Act]) -> None:
    """Without anybody's help: by the version that is wanted, or, where its deployment failed, by one before it."""
    cluster = begun()
    for act in history:
        act(cluster)
    cluster.heal()
    for job in cluster.state.jobs.values():
        deployment = cluster.state.deployments[job.deployment]
        assert not deployment.active or deployment.status in {"paused", "awaiting_promotion"}
        if deployment.status != "paused":
            check_filled(cluster, job)
    assert cluster.look().pieces == ()
    assert not any(cluster.is_misplaced(alloc) for alloc in cluster.state.allocs.values() if alloc.live)
    cluster.agree()
    for job in cluster.state.jobs.values():
        check_filled(cluster, job)
    for deployment in cluster.state.deployments.values():
        assert not deployment.active
        assert deployment.status not in {"failed", "reverted"} or deployment.told or deployment.kind == "revert"
