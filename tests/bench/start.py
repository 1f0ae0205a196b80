"""From `POST /v1/jobs` to twenty running containers, beside the engine doing the same without us."""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Callable
from typing import Any, Final, Self
from urllib.parse import urlsplit

import docker

from tests.bench import raw
from tests.bench.client import Api
from tests.bench.engine import engine
from tests.bench.rows import Case, Gauge
from tests.e2e.cluster import cluster
from tests.e2e.runtimes import Containers
from tests.waiting import until

_REPLICAS: Final = 20
_PAIRS: Final = 7


def run(say: Callable[[str], None]) -> dict[str, float]:
    """Give the median of the ratios of interleaved pairs, and the medians of both."""
    ours: list[float] = []
    floor: list[float] = []
    with engine() as image, _Containers() as containers, cluster(Containers()) as there:
        url = urlsplit(there.url())
        api = Api((url.hostname or "", url.port or 0), there.client.token)
        spec = _spec(containers.mark, image)
        _submit(api, spec | {"job": f"{containers.mark}-first"}, 1)
        like = raw.template(containers.one())
        _delete(api, f"{containers.mark}-first", containers)
        for pair in range(_PAIRS):
            turns: list[Callable[[], None]] = [
                lambda: floor.append(raw.start(like, _REPLICAS, containers.mark)),
                lambda pair=pair: ours.append(_once(api, spec, pair, containers)),  # type: ignore[misc] # bound now
            ]
            for turn in turns if pair % 2 else reversed(turns):
                turn()
            say(f"ours {ours[-1]:.2f} s, the engine alone {floor[-1]:.2f} s")
    ratios = [mine / least for mine, least in zip(ours, floor, strict=True)]
    return {
        "start20_ratio_raw": statistics.median(ratios),
        "start20_s": statistics.median(ours),
        "start20_raw_s": statistics.median(floor),
    }


def _spec(name: str, image: str) -> dict[str, Any]:
    task = {
        "name": "web",
        "image": image,
        "command": ["httpd", "-f", "-p", "8080"],
        "count": _REPLICAS,
        "ports": {"http": 8080},
        "resources": {"cpu": 0.05, "memory": "32MB", "disk": "10MB"},
        "kill_timeout": "1s",
    }
    return {"job": name, "tasks": [task]}


def _once(api: Api, spec: dict[str, Any], turn: int, containers: _Containers) -> float:
    name = f"{containers.mark}-{turn}"
    took = _submit(api, spec | {"job": name}, _REPLICAS)
    running = sum(container.status == "running" for container in containers.all())
    assert running == _REPLICAS, f"the engine says that {running} run"
    _delete(api, name, containers)
    return took


def _submit(api: Api, spec: dict[str, Any], count: int) -> float:
    """Submit, and long-poll until all replicas run."""
    [task] = spec["tasks"]
    spec = spec | {"tasks": [task | {"count": count}]}
    path = f"/v1/allocations?job={spec['job']}"
    api.close()  # the server ends connections that were idle for some seconds
    began = time.monotonic()
    answer = api.post("/v1/jobs", spec)
    assert answer.status == 201, answer
    index, deadline = answer.at, began + 120
    allocs: list[dict[str, Any]] = []
    while sum(alloc["status"] == "running" for alloc in allocs) < count:
        failed = [alloc for alloc in allocs if alloc["status"] in ("failed", "lost", "complete")]
        assert not failed, failed
        assert time.monotonic() < deadline, f"not all run after two minutes: {allocs}"
        answer = api.get(f"{path}&index={index}&wait=30s")
        index, allocs = answer.at, answer.body
    return time.monotonic() - began


def _delete(api: Api, name: str, containers: _Containers) -> None:
    api.ask("DELETE", f"/v1/jobs/{name}")
    until(lambda: not containers.all(), timeout=120, what="the end of the job's containers")


class _Containers:
    """This run's containers, known by their job's name; none outlives the run."""

    def __init__(self) -> None:
        self.mark = f"bench-{secrets.token_hex(4)}"
        self._engine = docker.from_env()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for container in self._named():
            container.remove(force=True)
        self._engine.close()

    def all(self) -> list[Any]:
        """Give all that a cluster made for us."""
        return [each for each in self._named() if any(label.startswith("heroctl.") for label in each.labels)]

    def one(self) -> dict[str, Any]:
        """Inspect the only one."""
        [container] = self.all()
        attributes: dict[str, Any] = container.attrs
        return attributes

    def _named(self) -> list[Any]:
        return list(self._engine.containers.list(all=True, filters={"name": self.mark}, ignore_removed=True))


CASE: Final = Case(
    gauges=(
        Gauge("start20_ratio_raw", "ratio", at_most=1.25),
        Gauge("start20_s", "s"),
        Gauge("start20_raw_s", "s"),
    ),
    run=run,
    method=(
        f"{_REPLICAS} replicas of busybox with a port and limits on the bridge network: from sending `POST /v1/jobs` "
        "until a long poll of `/v1/allocations` has shown all of them running; beside the engine's API making and "
        f"starting containers with the same configuration, eight at a time. Median of {_PAIRS} interleaved pairs, "
        "who goes first alternating; one api, one reconciler, one agent, Postgres with fsync."
    ),
)
