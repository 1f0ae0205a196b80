"""System jobs: one replica on every node that fits, whatever becomes of nodes, versions and replicas."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from heroctl.domain.intents import drains
from heroctl.domain.intents import jobs as intents
from heroctl.domain.records import Alloc, Job
from reconciler.planner.explain import explain
from reconciler.planner.place import Fleet
from tests.domain.worlds import spec
from tests.reconciler.cluster import Cluster
from tests.reconciler.test_depends import planned

FIT: dict[str, Any] = {"constraints": [{"attribute": "${node.name}", "operator": "regexp", "value": "^n"}]}


def cluster(nodes: int = 3) -> Cluster:
    made = Cluster()
    for number in range(nodes):
        made.join(f"n{number}")
    made.decide()
    return made


def watch(made: Cluster, args: str = "v1", **fields: Any) -> Job:  # noqa: ANN401 - a spec's fields
    made.do(intents.submit_job(made.state, spec(job="watch", type="system", args=[args], **fields), "tester"))
    job = made.state.job("default", "watch")
    assert job is not None
    return job


def nodes_of(made: Cluster, content: str = "") -> list[str]:
    """Name the nodes of the live replicas."""
    live = [alloc for alloc in made.live("watch") if content in ("", alloc.content)]
    return sorted(made.state.nodes[alloc.node].name for alloc in live)


def node(made: Cluster, name: str) -> Any:  # noqa: ANN401 - a node
    return made.state.nodes[made.state.node_names[name]]


# ── where they are ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_constraint_says_where_they_are_and_a_new_one_where_they_are_no_more() -> None:
    made = cluster()
    made.join("other")
    watch(made, **FIT)
    made.settle()
    assert nodes_of(made) == ["n0", "n1", "n2"]
    watch(made, constraints=[{"attribute": "${node.name}", "operator": "!=", "value": "n1"}])
    made.settle()
    assert nodes_of(made) == ["n0", "n2", "other"]


def test_slots_stay_with_their_nodes() -> None:
    made = cluster()
    watch(made)
    made.settle()
    before = {alloc.node: alloc.slot for alloc in made.live("watch")}
    made.hush("n1")
    made.settle()
    made.join("n9")
    made.settle()
    made.come_back("n1")
    watch(made, "v2")
    made.settle()
    after = {alloc.node: alloc.slot for alloc in made.live("watch")}
    assert before.items() <= after.items()
    assert sorted(after.values()) == [0, 1, 2, 3]


def test_who_lacks_room_is_named_and_said_for_each_node() -> None:
    made = cluster(2)
    made.join("n9", cpu=0.1)
    job = watch(made)
    made.settle()
    job = made.state.jobs[job.uid]
    assert job.blocked == ("1 of 3 nodes: 1 exhausted cpu",)
    worst = explain(made.state, job, made.clock, Fleet()).slots[0]
    assert worst.standing == "no_room"
    assert worst.words.endswith("waiting for room on n9: exhausted cpu")
    assert made.state.deployments[job.deployment].status == "successful"


def test_nothing_is_deployed_that_fits_nowhere() -> None:
    made = cluster(2)
    job = watch(made, resources={"cpu": 64})
    made.decide()
    made.wait(60_000)
    made.decide()
    assert made.state.deployments[job.deployment].active


def test_what_stays_on_nodes_that_take_nothing_new_is_neither_missed_nor_left_out() -> None:
    made = cluster(2)
    job = watch(made)
    made.settle()
    for name in ("n0", "n1"):
        made.set_eligible(name, eligible=False)
    made.settle()
    case = explain(made.state, made.state.jobs[job.uid], made.clock, Fleet())
    assert made.state.jobs[job.uid].blocked == ()
    assert case.summary == "watch: 2 of 2 replicas of version 1 are healthy"
    assert [slot.standing for slot in case.slots] == ["healthy", "healthy"]
    watch(made, "v2")
    made.settle()
    case = explain(made.state, made.state.jobs[job.uid], made.clock, Fleet())
    assert made.state.jobs[job.uid].blocked == ("2 nodes: 2 not eligible",)
    assert [slot.standing for slot in case.slots] == ["kept", "kept"]
    assert all(slot.words.endswith("stays: its node takes nothing new") for slot in case.slots)


def test_it_is_looked_at_when_nodes_change_and_not_with_their_use() -> None:
    made = cluster()
    job = watch(made)
    made.run("web", count=2)
    made.settle()
    made.decide()
    made.delete("web")
    made.decide()
    made.step()
    assert not planned(made, job.uid)
    made.set_eligible("n1", eligible=False)
    assert planned(made, job.uid)


# ── drains ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_they_leave_a_drained_node_when_all_others_have() -> None:
    made = cluster()
    watch(made)
    made.run("web", count=3)
    made.settle()
    made.do(drains.drain_node(node(made, "n1"), seconds=None, ignore_system=False))
    made.decide()
    assert "n1" in nodes_of(made)
    made.settle()
    assert nodes_of(made) == ["n0", "n2"]
    assert node(made, "n1").drain is None
    made.set_eligible("n1", eligible=True)
    made.settle()
    assert nodes_of(made) == ["n0", "n1", "n2"]


def test_they_stay_where_a_drain_ignores_them() -> None:
    made = cluster()
    watch(made)
    made.run("web", count=3)
    made.settle()
    made.do(drains.drain_node(node(made, "n1"), seconds=None, ignore_system=True))
    made.settle()
    assert nodes_of(made) == ["n0", "n1", "n2"]
    assert node(made, "n1").drain is None


# ── whatever happens ─────────────────────────────────────────────────────────────────────────────────────────────────

ACTS = "v1 v2 bad stop join small hush back cordon uncordon remove fail sick request restart pass pass settle"
STEPS = st.lists(st.sampled_from(ACTS.split()), min_size=4, max_size=20)
OPTIONS = st.fixed_dictionaries(
    {"max_parallel": st.integers(1, 3), "order": st.sampled_from(["start-first", "stop-first"])}
)


@settings(max_examples=80)
@given(STEPS, OPTIONS, st.randoms(use_true_random=False))
def test_one_on_every_node_that_fits_in_calm_and_never_more_than_an_update_takes(
    steps: list[str],
    update: dict[str, Any],
    chance: Any,  # noqa: ANN401 - hypothesis' random
) -> None:
    made = cluster()
    made.behaviour["bad"] = "fails"
    watch(made, update=update)
    for step in steps:
        act(made, step, update, chance)
        holds(made, update["max_parallel"])
    calm(made, update)
    job = made.state.job("default", "watch")
    assert job is not None
    fit = sorted(each.name for each in made.state.nodes.values() if each.capacity.cpu > 1)
    assert nodes_of(made) == nodes_of(made, job.current.tasks[0].content) == fit
    slots = Counter(alloc.slot for alloc in made.live("watch"))
    assert max(slots.values(), default=1) == 1


def act(made: Cluster, step: str, update: dict[str, Any], chance: Any) -> None:  # noqa: ANN401, C901 - one case a step
    names = sorted(made.state.node_names)
    name = chance.choice(names) if names else ""
    live: list[Alloc] = made.live("watch")
    one = chance.choice(live) if live else None
    job = made.state.job("default", "watch")
    assert job is not None
    match step:
        case "v1" | "v2" | "bad":
            watch(made, step, update=update)
        case "stop":
            made.stop("watch")
        case "join":
            made.join(f"n{len(made.records)}")
        case "small":
            made.join(f"s{len(made.records)}", cpu=0.1)
        case "hush" if name:
            made.hush(name)
        case "back" if name and node(made, name).id in made.silent:
            made.come_back(name)
        case "cordon" | "uncordon" if name:
            made.set_eligible(name, eligible=step == "uncordon")
        case "remove" if len(names) > 2:
            made.remove(name)
        case "fail" if one is not None:
            made.fail(one)
        case "sick" if one is not None and one.phase == "running":
            made.sicken(one)
        case "request" if one is not None:
            made.do(intents.stop_alloc(one))
        case "restart" if job.wanted:
            made.do(intents.restart_job(made.state, job, "tester"))
        case "settle":
            made.settle(2_000)
        case _:
            made.step()
            made.wait(5_000)
    made.decide()  # whatever the linter finds is raised


def holds(made: Cluster, most: int) -> None:
    """Never two of a version on a node, and no more than the update takes on all of them together."""
    live = made.live("watch")
    versions = Counter((alloc.node, alloc.content, alloc.create_index > renewed(made)) for alloc in live)
    assert max(versions.values(), default=1) == 1
    there = Counter(alloc.node for alloc in live if made.state.nodes[alloc.node].up)
    pairs = sum(1 for replicas in there.values() if replicas > 1)
    assert pairs <= most


def renewed(made: Cluster) -> int:
    job = made.state.job("default", "watch")
    return job.renewed if job is not None else 0


def calm(made: Cluster, update: dict[str, Any]) -> None:
    """Let everything be well again, and come to rest."""
    made.sick.clear()
    for name in sorted(made.state.node_names):
        if node(made, name).id in made.silent:
            made.come_back(name)
        made.set_eligible(name, eligible=True)
    watch(made, "v9", update=update)
    made.settle(4_000)
