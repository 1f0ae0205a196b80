"""Bodies as the API sends them."""

from __future__ import annotations

from typing import Any

T0 = "2026-03-01T12:00:00.000Z"

Json = dict[str, Any]


def job(name: str = "web", *, version: int = 1, desired: int = 2, healthy: int = 2, **more: Any) -> Json:  # noqa: ANN401 - any JSON
    """A job, as its list and its own page have it."""
    task = {"name": "web", "driver": "docker", "image": "shop:1", "desired": desired}
    return {
        "name": name,
        "namespace": "default",
        "type": "service",
        "status": "running",
        "version": version,
        "tasks": [{**task, "running": healthy, "healthy": healthy}],
        "deployment": {"id": "d0000001", "status": "successful"},
        "blocked": [],
        "created_at": T0,
        "updated_at": T0,
        "create_index": 5,
        "modify_index": 9,
        "spec_index": 5,
        **more,
    }


def alloc(id_: str = "a1b2c3d4e5f6", *, status: str = "running", health: str = "healthy", **more: Any) -> Json:  # noqa: ANN401 - any JSON
    """An allocation."""
    return {
        "id": id_,
        "job": "web",
        "namespace": "default",
        "task": "web",
        "slot": 0,
        "version": 1,
        "node": "node-1",
        "status": status,
        "wanted": "run",
        "health": health,
        "attempt": 1,
        "deployment": "d0000001",
        "ports": {"http": {"host": 20001, "container": 8080}},
        "address": "10.0.0.1",
        "exit_code": None,
        "oom": False,
        "reason": "",
        "created_at": T0,
        "started_at": T0,
        "finished_at": None,
        **more,
    }


def deployment(status: str = "running", **more: Any) -> Json:  # noqa: ANN401 - any JSON
    """A deployment."""
    return {
        "id": "d0000001",
        "job": "web",
        "namespace": "default",
        "version": 1,
        "previous_version": None,
        "status": status,
        "reason": "",
        "strategy": "rolling",
        "kind": "submit",
        "step": 1,
        "steps": 2,
        "weights": [],
        "awaiting": False,
        "promoted": True,
        "promoted_at": None,
        "revert_of": None,
        "tasks": {"web": {"desired": 2, "placed": 2, "healthy": 0, "unhealthy": 0, "canaries": 0, "promoted": True}},
        "deadline": None,
        "created_at": T0,
        **more,
    }


def node(name: str = "node-1", **more: Any) -> Json:  # noqa: ANN401 - any JSON
    """A node."""
    return {
        "id": "n0000001",
        "name": name,
        "status": "ready",
        "eligibility": "eligible",
        "drain": None,
        "cpu": {"total": 4, "reserved": 1.5, "used": 0.25},
        "ram": {"total": 8 << 30, "reserved": 512 << 20, "used": 1 << 30},
        "disk": {"total": 100 << 30, "reserved": 0, "used": 0},
        "labels": {"zone": "a"},
        "attributes": {"arch": "x86_64", "docker.host_paths": "/srv"},
        "drivers": {"docker": {"healthy": True, "version": "27.1"}, "process": {"healthy": False, "version": ""}},
        "address": "10.0.0.1",
        "version": "0.1.0",
        "allocations": 3,
        "last_seen_s": 1,
        **more,
    }


def submitted(version: int = 1, deployment_id: str = "d0000001", **more: Any) -> Json:  # noqa: ANN401 - any JSON
    """The answer to a submit."""
    return {
        "name": "web",
        "namespace": "default",
        "version": version,
        "index": 42,
        "deployment_id": deployment_id,
        "warnings": [],
        **more,
    }
