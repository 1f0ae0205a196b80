"""Job specs and histories for the api's tests."""

from __future__ import annotations

from typing import Any

from eventstore.members import Present
from heroctl.domain.assignment import Report
from heroctl.domain.events import AllocPlaced, AllocReported, DeploymentFinished, DeploymentStepped
from heroctl.domain.ids import allocation_id
from heroctl.domain.records import Member
from tests.api.rig import Reply, Rig

INVENTORY: dict[str, list[object]] = {"reports": [], "unknown": []}


def spec(name: str = "web", task: dict[str, Any] | None = None, **more: object) -> dict[str, Any]:
    """A job of one task and one replica, unless told otherwise."""
    usual = {"name": "app", "image": "app:1", "command": ["sleep", "9"], "count": 1, "ports": {"http": 8080}}
    return {"job": name, "tasks": [usual | (task or {})], **more}


def batch(name: str = "import", task: dict[str, Any] | None = None, **more: object) -> dict[str, Any]:
    """A batch job of one task and one replica; `periodic` makes it one that the clock launches."""
    return spec(name, {"ports": {}} | (task or {}), type="batch", **more)


NIGHTLY: dict[str, Any] = {"cron": "30 2 * * *", "time_zone": "Europe/Berlin"}


async def submit(api: Rig, name: str = "web", task: dict[str, Any] | None = None, **more: object) -> Reply:
    """Submit a job."""
    reply = await api.post("/v1/jobs", spec(name, task, **more))
    assert reply.status in (200, 201), reply.body
    return reply


async def join(api: Rig, name: str = "node-1") -> tuple[str, str]:
    """Let a server join; return its id and its own token."""
    token = (await api.post("/v1/cluster/join-tokens")).body["token"]
    joined = await api.post("/v1/nodes/join", {"token": token, "name": name}, token="")
    assert joined.status == 201, joined.body
    return joined.body["id"], joined.body["token"]


async def open_session(api: Rig, token: str, boot: str = "boot-1", **more: object) -> Reply:
    """Open a session as a node's agent."""
    body = {
        "boot_id": boot,
        "inventory": INVENTORY,
        "capacity": {"cpu": 4.0, "memory": 8_000_000_000, "disk": 50_000_000_000},
        "drivers": {"docker": {"healthy": True, "version": "1"}},
        "address": "192.0.2.9",
        "labels": {"disk": "ssd"},
        **more,
    }
    return await api.post("/v1/agent/session", body, token=token)


async def place(api: Rig, node: str, name: str = "web", n: int = 1) -> str:
    """Place one replica of a job on a node, as the coordinator would; return the allocation's id."""
    state = api.parts.view.state
    job = state.job("default", name)
    assert job is not None
    [task, *_] = job.current.tasks
    alloc = allocation_id(state.incarnation, job.uid, n)
    await api.decide(
        AllocPlaced(
            id=alloc,
            uid=job.uid,
            n=n,
            namespace="default",
            job=name,
            task=task.name,
            slot=n - 1,
            version=job.current.version,
            content=task.content,
            node=node,
            cpu=0.5,
            memory=256_000_000,
            disk=300_000_000,
            deployment=job.deployment,
        )
    )
    return alloc


async def runs(api: Rig, node: str, alloc: str, **more: Any) -> int:  # noqa: ANN401 - fields of a report
    """Report an allocation as running and healthy, as its agent would."""
    said: dict[str, Any] = {"attempt": 1, "phase": "running", "health": "healthy", "ports": {"http": 20_001}, **more}
    return await api.append(AllocReported(node, Report(alloc, address="192.0.2.9", running_for=3.0, **said)))


async def coordinated(api: Rig) -> None:
    """Let a reconciler coordinate, for as long as the test lasts."""
    assert await api.leases.take("reconciler-1", 10**6)
    await api.parts.pulse.look()


async def candidates(api: Rig, *names: str) -> None:
    """Let reconcilers live that could coordinate, as long as the clock stands."""
    for name in names:
        await api.members.renew(Present(Member(name, "reconciler", f"{name}.example", "1.2.3")))


CANARY: dict[str, Any] = {"strategy": "canary", "canary": {"steps": [10, 50, 100]}}


async def finish(api: Rig, name: str = "web") -> str:
    """End the present deployment of a job as successful; return its id."""
    job = api.parts.view.state.job("default", name)
    assert job is not None
    await api.decide(DeploymentFinished(job.deployment, job.uid, "default", name, "successful"))
    return job.deployment


async def trial(api: Rig, *, stands: bool = True, update: dict[str, Any] = CANARY) -> str:
    """Try a second version of a job beside the first, as a canary unless told otherwise; return its deployment."""
    await submit(api)
    await finish(api)
    await submit(api, task={"image": "app:2", "update": update})
    job = api.parts.view.state.job("default", "web")
    assert job is not None
    if stands:
        await api.decide(DeploymentStepped(job.deployment, job.uid, "default", "web", awaiting=True))
    return job.deployment
