"""What reaches out of a container, through the whole cluster: by nobody unasked, nowhere it is not allowed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests import image
from tests.e2e.client import Client, RefusedError
from tests.e2e.cluster import Cluster, Size, cluster
from tests.e2e.runtimes import Containers
from tests.needs import needs
from tests.waiting import until

pytestmark = [needs("docker"), pytest.mark.timeout(240)]

STAYS = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"
UPDATE = {"min_healthy_time": "0s"}


@pytest.fixture
def there() -> Iterator[Cluster]:
    image.ensure()
    with cluster(Containers(), Size(apis=1, reconcilers=1, agents=1)) as made:
        yield made
        made.delete_all()


def job(name: str, **task: Any) -> dict[str, Any]:  # noqa: ANN401 - a spec's fields
    whole = {"name": "main", "image": image.NAME, "command": ["/bin/sh", "-c", STAYS], "update": UPDATE, **task}
    return {"job": name, "tasks": [{**whole, "resources": {"cpu": 0.1, "memory": "16MB"}}]}


def allow(there: Cluster, **settings: str) -> None:
    """Start the agent anew with other settings."""
    part = there.parts["agent-1"]
    part.stop()
    part.environ = {f"HEROCTL_ALLOW_{name.upper()}": value for name, value in settings.items()}
    part.start()


def blocked(there: Cluster, name: str, why: str) -> None:
    """Wait until a job is blocked for this reason, and see that nothing of it runs."""

    def told(body: dict[str, Any] | None) -> bool:
        return body is not None and body["status"] == "blocked" and why in str(body)

    there.client.wait_until(f"/v1/jobs/{name}", told, what=f"{name}: {why}")
    assert there.running(name) == []


def reaching(folder: Path) -> dict[str, Any]:
    return {
        "network": "host",
        "pid": "host",
        "capabilities": {"add": ["NET_ADMIN"]},
        "devices": [{"source": "/dev/null", "target": "/dev/nothing"}],
        "volumes": [{"source": str(folder), "target": "/data"}],
    }


def test_it_waits_for_a_node_that_allows_it(there: Cluster, tmp_path: Path) -> None:
    there.submit(job("deep", privileged=True))
    blocked(there, "deep", "not allowing privileged containers")
    there.submit(job("wide", **reaching(tmp_path)))
    blocked(there, "wide", "not allowing the host's network")
    allow(there, host_network="true", host_namespaces="true", capabilities="NET_ADMIN", devices="/dev/null")
    blocked(there, "wide", f"not allowing host path {tmp_path}")
    allow(
        there,
        host_network="true",
        host_namespaces="true",
        capabilities="NET_ADMIN",
        devices="/dev/null",
        host_paths=str(tmp_path),
    )
    (found,) = there.wait_running("wide", 1)
    with contextlib.closing(docker.from_env()) as engine:
        host = engine.containers.get(found.id).attrs["HostConfig"]
    assert (host["NetworkMode"], host["PidMode"], host["Privileged"]) == ("host", "host", False)
    assert [mount["Source"] for mount in host["Mounts"]] == [str(tmp_path)]
    blocked(there, "deep", "not allowing privileged containers")


def test_a_link_that_leads_outside_is_refused_by_the_agent(there: Cluster, tmp_path: Path) -> None:
    """The planner cannot see it; the node is not asked again, and runs what is right."""
    (tmp_path / "out").symlink_to("/etc")
    (tmp_path / "in").mkdir()
    allow(there, host_paths=str(tmp_path))
    until(lambda: "docker.host_paths" in str(there.client.get("/v1/nodes").body), what="the agent's word")
    there.submit(job("out", volumes=[{"source": f"{tmp_path}/out", "target": "/data"}]))
    blocked(there, "out", "refused to run it")
    (tried,) = there.allocations("out")
    assert (tried["status"], tried["reason"]) == ("failed", "not_allowed")
    there.submit(job("in", volumes=[{"source": f"{tmp_path}/in", "target": "/data"}]))
    there.wait_healthy("in", 1)
    assert [alloc["id"] for alloc in there.allocations("out")] == [tried["id"]]


def test_what_runs_goes_on_where_it_is_allowed_no_longer(there: Cluster, tmp_path: Path) -> None:
    allow(there, host_paths=str(tmp_path))
    there.submit(job("kept", volumes=[{"source": str(tmp_path), "target": "/data"}]))
    there.wait_healthy("kept", 1)
    (before,) = there.running("kept")
    allow(there)
    until(lambda: "docker.host_paths" not in str(there.client.get("/v1/nodes").body), what="its new word")
    there.wait_healthy("kept", 1)
    assert there.running("kept") == [before]
    there.runtime.crash(before)
    blocked(there, "kept", f"not allowing host path {tmp_path}")


def test_who_may_submit_may_not_reach_out(there: Cluster, tmp_path: Path) -> None:
    made = there.client.post("/v1/acl/tokens", {"name": "ci", "kind": "service", "roles": ["deployer"]}).body
    client = Client(there.client.urls, made["secret"])
    with contextlib.closing(client):
        for fields in ({"privileged": True}, *({name: value} for name, value in reaching(tmp_path).items())):
            with pytest.raises(RefusedError, match=next(iter(fields))) as refused:
                client.post("/v1/jobs", job("mine", **fields))
            assert (refused.value.status, refused.value.code) == (403, "forbidden")
        client.post("/v1/jobs", job("mine"))
        there.wait_running("mine", 1)
