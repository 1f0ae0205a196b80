"""A history made by hand: every event of the first release, told as one small story.

`python -m tests.histories.made NAME` writes it as a new recorded history.
"""

from __future__ import annotations

import sys

from eventstore import codec
from eventstore.log import Position, Row
from heroctl.domain import events as e
from heroctl.domain.assignment import Report
from heroctl.domain.events import encode, encode_meta
from heroctl.domain.intents import access, deployments, jobs, namespaces, nodes
from heroctl.domain.policy import Rule
from heroctl.domain.records import Alloc, Deployment, Job, Node
from tests.domain.worlds import World
from tests.histories import alerts as told_of_alerts
from tests.histories import allocs as told_of_allocs
from tests.histories import history
from tests.histories import launches as told_of_launches
from tests.histories import nodes as told_of_nodes
from tests.histories import secrets as told_of_secrets
from tests.histories import settings as told_of_settings
from tests.histories import webhooks as told_of_webhooks


def story() -> list[Row]:
    """Tell it from the first event to the last."""
    world = World()
    _people(world)
    first, second = world.node("n1"), world.node("n2")
    web = world.submit(count=2)
    allocs = [world.place(web, first, 0), world.place(web, second, 1)]
    _rolled_out(world, web, allocs)
    _crash(world, allocs[0])
    _asked_to_stop(world, allocs[1], first)
    _bad_version(world, first)
    _steered(world, first)
    _sent_back(world, first)
    _node_lost(world, second)
    _other_history(world, first)
    told_of_nodes.tell(world)
    told_of_launches.tell(world)
    told_of_settings.tell(world)
    told_of_secrets.tell(world)
    told_of_webhooks.tell(world)
    told_of_alerts.tell(world)
    told_of_allocs.tell(world)
    world.add(e.LevelRaised(2))
    _goodbye(world)
    return rows(world)


def rows(world: World) -> list[Row]:
    """Give a world's events as a log keeps them."""
    found: list[Row] = []
    end, meta = Position(), encode_meta(e.Meta("tester", "req_made", "127.0.0.1"))
    start = 0
    while start < len(world.records):
        append = world.records[start : world.records[start].last]
        payloads = [encode(record.event) for record in append]
        end = codec.link(end, append[0].time, meta, payloads)
        for record, (tag, schema, data) in zip(append, payloads, strict=True):
            chain = end.chain if record.index == record.last else None
            found.append((record.index, record.last, record.time, tag, schema, meta, data, chain))
        start += len(append)
    return found


def _people(world: World) -> None:
    world.add(e.CoordinatorElected("r1", 1), e.MemberJoined("r1", "reconciler", "10.0.0.9:9000", "0.1.0"))
    world.add(e.MemberJoined("a1", "api", "10.0.0.9:8080", "0.1.0"))
    world.do(access.create_user(world.state, "admin", ("admin",), "vault-admin"))
    token = e.TokenCreated("t1", "ci", "admin", ("deployer",), "vault-t1", world.state.time + 3_600_000)
    world.do(access.create_token(world.state, token))
    world.do(access.create_token(world.state, e.TokenCreated("t2", "old", "admin", ("viewer",), "vault-t2")))
    world.do(access.delete_token(world.state, "t2"))
    world.add(e.SessionOpened("5e551011", "admin"), e.SessionEnded("5e551011", "admin"))
    world.add(e.SigningKeyRotated(), e.SigningKeyRotated(end_sessions=True))
    _rights(world)
    _spaces(world)


def _rights(world: World) -> None:
    rules = (Rule("job", ("read", "submit"), namespace="shop-*"), Rule("secret", (), namespace="*"))
    world.do(access.create_policy(world.state, e.PolicySet("shop", rules, "what the shop's pipeline does")))
    world.do(access.create_policy(world.state, e.PolicySet("spare", (Rule("node", ("drain",), name="gpu-*"),))))
    world.do(access.create_role(world.state, e.RoleSet("pipeline", ("shop", "viewer"))))
    world.do(access.create_role(world.state, e.RoleSet("old", ("spare",))))
    world.do(access.delete_role(world.state, "old"))
    world.do(access.delete_policy(world.state, "spare"))
    world.do(access.create_user(world.state, "zoe", ("viewer",), "vault-zoe", ("default",)))
    world.do(access.update_user(world.state, "zoe", ("pipeline",), ("shop-*",)))
    world.do(access.change_password(world.state, "zoe", "vault-zoe-2"))
    token = e.TokenCreated(
        "t3", "shop", "zoe", ("pipeline",), "vault-t3", kind="user", namespaces=("shop-a",), jobs=("web-*",)
    )
    world.do(access.create_token(world.state, token))
    world.do(access.create_user(world.state, "kim", ("admin",), "vault-kim"))
    world.do(access.delete_user(world.state, "kim"))


def _spaces(world: World) -> None:
    world.do(namespaces.create_namespace(world.state, "shop-a", "the shop"))
    world.do(namespaces.update_namespace(world.state, "shop-a", "the first shop"))
    world.do(namespaces.create_namespace(world.state, "gone"))
    world.do(namespaces.delete_namespace(world.state, "gone"))


def _report(world: World, alloc: Alloc, **fields: object) -> None:
    known = {"attempt": 1, "phase": "running", "health": "unknown", "address": "10.0.0.1", "container": "c0ffee"}
    node = world.state.nodes[alloc.node]
    outcomes = world.report(node, Report(**{"alloc": alloc.id, **known, **fields}))  # type: ignore[arg-type] # checked by outcome
    assert outcomes == ["ok"], (outcomes, fields)


def _rolled_out(world: World, job: Job, allocs: list[Alloc]) -> None:
    for alloc in allocs:
        _report(world, alloc, phase="starting")
        _report(world, alloc, ports={"http": 20_000 + alloc.slot}, running_for=0.5)
        _report(world, alloc, health="healthy", ports={"http": 20_000 + alloc.slot}, running_for=11.0, healthy_for=10.0)
    job = world.state.jobs[job.uid]
    finished = e.DeploymentFinished(job.deployment, job.uid, job.namespace, job.name, "successful")
    world.add(finished, e.JobDeployed(job.uid, job.namespace, job.name, job.current.version, job.deployment))


def _crash(world: World, alloc: Alloc) -> None:
    _report(world, alloc, phase="ended", failed_attempt=1, exit_code=1, reason="exited", message="exit code 1")
    _report(world, alloc, attempt=2, restarts=1, failed_attempt=1, health="healthy", running_for=12.0, healthy_for=11.0)


def _asked_to_stop(world: World, alloc: Alloc, node: Node) -> None:
    world.do(jobs.stop_alloc(world.state.allocs[alloc.id]))
    world.add(e.AllocStopping(alloc.id, alloc.namespace, alloc.job, "requested"))
    _report(world, alloc, phase="stopping")
    _report(world, alloc, phase="complete", exit_code=0)
    world.place(world.state.jobs[alloc.uid], node, alloc.slot)


def _bad_version(world: World, node: Node) -> None:
    job = world.submit(count=2, command=["serve", "--broken"])
    alloc = world.place(job, node, 0)
    _report(world, alloc, phase="failed", failed_attempt=1, exit_code=137, oom=True, reason="out_of_memory")
    job = world.state.jobs[job.uid]
    world.add(
        e.DeploymentFinished(job.deployment, job.uid, job.namespace, job.name, "failed", "restarts_spent"),
        e.JobFailed(job.uid, job.namespace, job.name, 2, job.deployment, "restarts_spent"),
    )


def _present(world: World, name: str) -> tuple[Job, Deployment]:
    job = world.state.job("default", name)
    assert job is not None
    return job, world.state.deployments[job.deployment]


def _stands(world: World, name: str, step: int = 0) -> None:
    job, deployment = _present(world, name)
    world.add(e.DeploymentStepped(deployment.id, job.uid, job.namespace, job.name, step, awaiting=True))


def _steered(world: World, node: Node) -> None:
    """A canary that its users take from step to step, and what they do with the job after that."""
    job = world.submit(job="shop", count=2)
    _rolled_out(world, job, [world.place(job, node, slot) for slot in range(2)])
    world.add(e.ImagePinned(job.uid, job.namespace, job.name, 1, "main", f"sha256:{'5e' * 32}"))
    canary = {"strategy": "canary", "canary": {"steps": [10, 50, 100]}}
    job = world.submit(job="shop", count=2, command=["serve", "2"], update=canary)
    _report(world, world.place(job, node), health="healthy", healthy_for=10.0)
    _stands(world, "shop")
    world.do(deployments.promote(_present(world, "shop")[1], step=True))
    _stands(world, "shop", 1)
    world.do(deployments.pause(_present(world, "shop")[1]))
    world.do(deployments.resume(_present(world, "shop")[1]))
    world.do(deployments.promote(_present(world, "shop")[1]))
    _finished(world, "shop")
    world.do(jobs.restart_job(world.state, _present(world, "shop")[0], "user:zoe"))
    world.do(jobs.scale_job(_present(world, "shop")[0], "main", 3, "user:zoe"))
    world.do(jobs.rollback_job(world.state, _present(world, "shop")[0], 1, "user:zoe"))


def _sent_back(world: World, node: Node) -> None:
    """A new set beside the old that a user finds wanting: it fails, and the job goes back to what was stable."""
    _finished(world, "shop")
    job = world.submit(job="shop", command=["serve", "3"], update={"strategy": "blue-green"})
    _report(world, world.place(job, node), health="healthy", healthy_for=10.0)
    _stands(world, "shop")
    job, failed = _present(world, "shop")
    world.do(deployments.fail(failed, "p99 doubled"))
    end = e.DeploymentFinished(failed.id, job.uid, job.namespace, job.name, "failed", "requested: p99 doubled")
    world.add(end, e.JobReverted(job.uid, job.namespace, job.name, 6, 4, failed.id))
    _finished(world, "shop")
    world.add(e.JobFailed(job.uid, job.namespace, job.name, 5, failed.id, "requested: p99 doubled", reverted_to=4))


def _finished(world: World, name: str) -> None:
    job, deployment = _present(world, name)
    world.add(e.DeploymentFinished(deployment.id, job.uid, job.namespace, job.name, "successful"))


def _node_lost(world: World, node: Node) -> None:
    job = world.submit(job="db")
    alloc = world.place(job, node)
    _report(world, alloc, running_for=1.0)
    world.do(nodes.set_eligibility(world.state.nodes[node.id], eligible=False))
    world.add(e.NodeDown(node.id, node.name, 13.2, (alloc.id,)))
    world.add(e.BrakeOn(1, 2))
    world.add(e.BrakeOff("operator"))
    world.add(e.AllocGivenUp(alloc.id, alloc.namespace, alloc.job, "node_down"))
    world.add(e.JobBlocked(job.uid, job.namespace, job.name, ("memory",)))
    for _ in range(3):
        world.add(e.JobPlanFailed(job.uid, job.namespace, job.name, "KeyError: 'disk'", "0.1.0"))
    world.do(nodes.remove_node(world.state.nodes[node.id]))
    world.do(jobs.stop_job(world.state, "default", "db"))


def _other_history(world: World, node: Node) -> None:
    world.add(e.IncarnationDrawn("inc2", "restored"))
    world.add(e.NodeUnknownContainers(node.id, ("c0ffee", "decade")))
    world.place(world.submit(job="late"), node)


def _goodbye(world: World) -> None:
    world.do(jobs.delete_job(world.state, "default", "db"))
    world.do(jobs.delete_job(world.state, "default", "web"))
    world.add(e.MemberLeft("a1"))


if __name__ == "__main__":
    history.write(sys.argv[1], story())
