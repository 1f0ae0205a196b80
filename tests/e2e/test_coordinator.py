"""Coordination changes hands under load: what is asked for comes true, and nothing is decided twice.

The short form; twenty times in a loop, by kill -9 too, and its control: `make torture`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.api.canary import found, marked
from tests.e2e.cluster import Cluster, Size, cluster
from tests.e2e.coordinator import handed_over, loaded
from tests.e2e.parts import Part
from tests.e2e.runtimes import Processes
from tests.e2e.specs import job
from tests.waiting import until

pytestmark = pytest.mark.timeout(150)


@pytest.fixture(scope="module")
def there() -> Iterator[Cluster]:
    with cluster(Processes(), Size(1, 2, 1)) as made:
        yield made


def test_it_is_handed_over_under_load(there: Cluster) -> None:
    with loaded(there) as load:
        for _ in range(2):
            assert handed_over(there) < 10
        assert load.asked > 2
    there.delete_all()


def test_every_process_follows_the_level_and_tells_what_it_decides(there: Cluster) -> None:
    """The level goes through the log, and to agents with their next beat."""
    told = there.client.put("/v1/cluster/loglevel", {"level": "debug"}).body
    assert told["level"] == "debug"
    for name, part in there.parts.items():
        until(partial(follows, part), timeout=20, what=f"{name} to follow")
    there.client.put("/v1/cluster/loglevel", {"level": None})
    submitted = there.submit({"job": "told", "tasks": [{"name": "a", **there.runtime.task("exit 0"), "count": 1}]})
    line = until(lambda: decided(there, "told"), timeout=20, what="a line of its placement")
    assert line is not None
    assert (line["type"], line["namespace"], line["node"]) == ("alloc.placed", "default", "node-1")
    assert (line["cause"], line["request_id"][:4]) == (submitted["index"], "req_")
    asked = f'"request_id":"{line["request_id"]}"'
    until(lambda: asked in compact(there.parts["api-1"].tail(4000)), timeout=20, what="the line of its request")
    there.delete_all()


def follows(part: Part) -> bool:
    return '"now":"debug"' in compact(part.tail(4000))


def compact(text: str) -> str:
    return text.replace('": "', '":"')


def decided(there: Cluster, name: str) -> dict[str, str] | None:
    for part in there.parts.values():
        for line in part.tail(4000).splitlines():
            if '"decided"' in line and f'"{name}"' in line and "alloc.placed" in line:
                made: dict[str, str] = json.loads(line)
                return made
    return None


def test_no_line_of_any_process_holds_a_secret(there: Cluster) -> None:
    """Whatever the level, also where a workload says it as it ends."""
    value = marked()
    there.client.put("/v1/cluster/loglevel", {"level": "debug"})
    there.client.post("/v1/secrets", {"name": "canary", "value": value.decode()})
    says: dict[str, Any] = {"env": {"CANARY": "${secret.canary}"}, "restart": {"attempts": 0}}
    there.submit(job(there.runtime, "says", script='echo "it is $CANARY"; exit 1', **says))
    there.client.wait_until("/v1/allocations", ended, job="says", what="its end")
    until(lambda: "exited with code 1" in there.parts["agent-1"].tail(4000), timeout=20, what="the agent to say so")
    there.client.put("/v1/cluster/loglevel", {"level": None})
    lines = {name: part.log.read_bytes() for name, part in there.parts.items()}
    assert all(lines.values())
    assert found(value, lines) == []
    there.delete_all()


def ended(allocs: list[dict[str, str]]) -> bool:
    return any(alloc["status"] == "failed" for alloc in allocs)
