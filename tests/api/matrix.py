"""The matrix of who may what, asked of a whole api: matrix.txt says which status comes, cell by cell."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from heroctl.domain.events import AllocPlaced, DeploymentStepped
from heroctl.domain.ids import allocation_id
from tests.api.hooks import told
from tests.api.rig import Reply, Rig, rig
from tests.api.specs import NIGHTLY, batch, candidates, coordinated, join, spec

CALLERS: Final = ("none", "node", "viewer", "deployer", "operator", "admin", "custom")
OWN: Final = "default"
FOREIGN: Final = "default-too"  # begins with the other's name, as nothing may be fooled by
NODES: Final = {OWN: "node-1", FOREIGN: "node-10"}
CUSTOM: Final = [
    {"resource": "job", "namespace": OWN, "capabilities": ["read", "submit"]},
    {"resource": "node", "name": NODES[OWN], "capabilities": ["read", "eligibility"]},
    {"resource": "secret", "namespace": "*", "capabilities": []},
]
PASSWORD: Final = "a long enough one"


class Line(NamedTuple):
    """One route of the matrix, and the statuses that each caller gets: of its own things, and of others'."""

    method: str
    route: str
    cells: dict[str, tuple[int, ...]]

    @property
    def name(self) -> str:
        """Method and route."""
        return f"{self.method} {self.route}"


def lines() -> list[Line]:
    """Read the matrix."""
    text = (Path(__file__).parent / "matrix.txt").read_text()
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [
        Line(method, route, {who: tuple(map(int, cell.split("/"))) for who, cell in zip(CALLERS, cells, strict=True)})
        for method, route, *cells in rows
    ]


class Question(NamedTuple):
    """What is asked for one line: a path, a body, and for a list the fields that tell the thing in it."""

    path: str
    body: Any = None
    shows: tuple[str, str] | None = None  # a field of the items, and its value


def question(line: Line, place: str, ids: dict[str, str]) -> Question:
    """Say what to ask for a line, of things in a namespace."""
    node = NODES[place]
    match line.method, line.route.split("/")[2:]:
        case "GET", ["events"]:
            return Question(f"{line.route}?type=job.submitted", shows=("namespace", place))
        case "GET", ["jobs" | "deployments" | "allocations" | "services" | "secrets" | "webhooks" | "alerts" as noun]:
            return Question(f"/v1/{noun}", shows=("namespace", place))
        case "GET", ["nodes" | "namespaces" as noun]:
            return Question(f"/v1/{noun}", shows=("name", node if noun == "nodes" else place))
        case _, ["secrets" | "alerts", *rest] if rest != ["rekey"]:
            return Question(f"{line.route.replace('{name}', 'db')}?namespace={place}", _BODIES.get(line.name))
        case _, ["webhooks", *_]:
            return _of_webhooks(line, place, ids)
        case "POST", ["jobs", *rest] if rest in ([], ["plan"], ["validate"]):
            return Question(line.route, spec(namespace=place))
        case _, ["jobs", "{name}", *_]:
            name = _LAUNCHED.get(line.name, "web")
            return Question(f"{line.route.replace('{name}', name)}?namespace={place}", _BODIES.get(line.name))
        case _, ["deployments" | "allocations" | "logs" as noun, "{id}", *_]:
            identity = ids[f"{noun.replace('logs', 'allocations')} {place}"]
            return Question(line.route.replace("{id}", identity), _BODIES.get(line.name))
        case _, ["services", _]:
            return Question(f"/v1/services/web?namespace={place}")
        case _, ["nodes", "{id}", *_]:
            return Question(line.route.replace("{id}", node), _BODIES.get(line.name))
        case "GET", ["namespaces", _]:
            return Question(f"/v1/namespaces/{place}")
        case _:
            return _of_the_cluster(line, ids)


def _of_webhooks(line: Line, place: str, ids: dict[str, str]) -> Question:
    if line.name == "POST /v1/webhooks":
        return Question(f"{line.route}?namespace={place}", HOOK)
    path = line.route.replace("{id}", ids[f"webhooks {place}"]).replace("{n}", "1")
    return Question(path, _BODIES.get(line.name))


HOOK: Final = {"url": "https://8.8.8.8/", "events": ["*"]}
_SECRET: Final = {"name": "db", "value": "x"}
ALERT: Final = {"metric": "cpu_percent", "condition": "> 90", "for": "5m", "job": "web"}
_BODIES: Final[dict[str, Any]] = {
    "POST /v1/alerts": ALERT | {"name": "new"},
    "PUT /v1/alerts/{name}": ALERT | {"condition": "> 95"},
    "POST /v1/secrets": _SECRET,
    "POST /v1/secrets/{name}/rollback": {"version": 1},
    "PATCH /v1/webhooks/{id}": {"description": "said anew"},
    "POST /v1/webhooks/{id}/rotate": {},
    "POST /v1/webhooks/{id}/deliveries/redeliver": {"first": 1, "last": 1},
    "POST /v1/acl/users": {"name": "new", "password": PASSWORD, "roles": ["viewer"]},
    "PUT /v1/acl/users/{name}": {"roles": ["deployer"]},
    "PUT /v1/acl/users/{name}/password": {"password": PASSWORD},
    "POST /v1/acl/tokens": {"name": "new", "roles": ["viewer"]},
    "POST /v1/acl/roles": {"name": "new", "policies": ["viewer"]},
    "PUT /v1/acl/roles/{name}": {"policies": ["viewer"]},
    "POST /v1/acl/policies": {"name": "new", "rules": CUSTOM},
    "PUT /v1/acl/policies/{name}": {"rules": CUSTOM},
    "POST /v1/acl/self/password": {"current": PASSWORD, "new": PASSWORD},
    "POST /v1/namespaces": {"name": "new"},
    "PUT /v1/cluster/settings": {"preemption": True},
    "PUT /v1/cluster/loglevel": {"level": None},
    "PUT /v1/namespaces/{name}": {"description": "said anew"},
    "POST /v1/cluster/join-tokens": {},
    "POST /v1/cluster/brake": {"on": False},
    "POST /v1/allocations/{id}/signal": {"signal": "SIGHUP"},
    "POST /v1/nodes/{id}/eligibility": {"eligible": True},
    "POST /v1/nodes/{id}/drain": {"dry_run": True},
    "POST /v1/jobs/{name}/rollback": {"version": 1},
    "POST /v1/jobs/{name}/scale": {"count": 1},
}


# Jobs that are launched, by the line that asks for it.
_LAUNCHED: Final = {"POST /v1/jobs/{name}/dispatch": "import", "POST /v1/jobs/{name}/periodic/force": "nightly"}


_ASKED: Final = {"GET /v1/metrics/query": "?metric=cpu"}


def _of_the_cluster(line: Line, ids: dict[str, str]) -> Question:
    path = line.route
    for word, value in (("{name}", "spare"), ("{id}", ids["token"]), ("{index}", "1"), ("{file}", "nothing.txt")):
        path = path.replace(word, value)
    return Question(path + _ASKED.get(line.name, ""), _BODIES.get(line.name))


@dataclass
class Cast:
    """An api with two of everything, and a token of every caller."""

    api: Rig
    tokens: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    async def prepare(self) -> None:
        """Make what is not there, maybe because the last one who was asked removed it."""
        for place in (OWN, FOREIGN):
            if FOREIGN not in self.api.parts.view.state.namespaces:
                await _made(self.api.post("/v1/namespaces", {"name": FOREIGN}))
            if NODES[place] not in self.api.parts.view.state.node_names:
                await self._node(place)
            if (place, "db") not in self.api.parts.view.state.alerts:
                await _made(self.api.post(f"/v1/alerts?namespace={place}", ALERT | {"name": "db"}))
            if (place, "new") in self.api.parts.view.state.alerts:
                await self.api.do("DELETE", f"/v1/alerts/new?namespace={place}")
            if (place, "db") not in self.api.parts.view.state.secrets:
                await _made(self.api.post(f"/v1/secrets?namespace={place}", _SECRET))
            if self.ids.get(f"webhooks {place}") not in self.api.parts.view.state.webhooks:
                made = await _made(self.api.post(f"/v1/webhooks?namespace={place}", HOOK))
                self.ids[f"webhooks {place}"] = made.body["id"]
                await told(self.api, made.body["id"])
            job = self.api.parts.view.state.job(place, "web")
            if job is None or job.stopped:
                await _made(self.api.post("/v1/jobs", spec(namespace=place)))
            if job is None:
                await self._alloc(place)
            if (place, "import") not in self.api.parts.view.state.names:
                await _made(self.api.post("/v1/jobs", batch(namespace=place)))
                await _made(self.api.post("/v1/jobs", batch("nightly", periodic=NIGHTLY, namespace=place)))
            if (place, "trial") not in self.api.parts.view.state.names:
                await self._trial(place)
        await self._spares()

    async def _node(self, place: str) -> None:
        node, token = await join(self.api, NODES[place])
        self.ids[f"node {place}"] = node
        if place == OWN:
            self.tokens["node"] = token

    async def _alloc(self, place: str) -> None:
        state = self.api.parts.view.state
        job = state.job(place, "web")
        assert job is not None
        [task] = job.current.tasks
        alloc = allocation_id(state.incarnation, job.uid, 1)
        placed = AllocPlaced(
            id=alloc, uid=job.uid, n=1, namespace=place, job="web", task=task.name, slot=0, version=1,
            content=task.content, node=self.ids[f"node {place}"], cpu=0.1, memory=1, disk=1, deployment=job.deployment,
        )  # fmt: skip
        await self.api.decide(placed)
        self.ids[f"allocations {place}"] = alloc

    async def _trial(self, place: str) -> None:
        """A deployment that may be promoted, and that nothing ends."""
        for image in ("app:1", "app:2"):
            task = {"image": image, "update": {"strategy": "canary"}}
            await _made(self.api.post("/v1/jobs", spec("trial", task, namespace=place)))
        job = self.api.parts.view.state.job(place, "trial")
        assert job is not None
        await self.api.decide(DeploymentStepped(job.deployment, job.uid, place, "trial", awaiting=True))
        self.ids[f"deployments {place}"] = job.deployment

    async def _spares(self) -> None:
        """Things called `spare`, to be shown, changed and removed; and none that is called `new`."""
        state = self.api.parts.view.state
        for noun, known, body in (
            ("acl/users", state.users, {"name": "spare", "password": PASSWORD, "roles": ["viewer"]}),
            ("acl/roles", state.roles, {"name": "spare", "policies": ["viewer"]}),
            ("acl/policies", state.policies, {"name": "spare", "rules": CUSTOM}),
            ("namespaces", state.namespaces, {"name": "spare"}),
        ):
            if "spare" not in known:
                await _made(self.api.post(f"/v1/{noun}", body))
            if "new" in known:
                await _made(self.api.do("DELETE", f"/v1/{noun}/new"))
        if self.ids.get("token") not in state.tokens:
            made = await _made(self.api.post("/v1/acl/tokens", {"name": "spare", "roles": ["viewer"]}))
            self.ids["token"] = made.body["id"]

    async def introduce(self) -> None:
        """Give every caller its token."""
        await _made(self.api.post("/v1/acl/policies", {"name": "custom", "rules": CUSTOM}))
        await _made(self.api.post("/v1/acl/roles", {"name": "custom", "policies": ["custom"]}))
        for role in CALLERS[2:]:
            places = ["*"] if role in ("operator", "admin", "custom") else [OWN]
            body = {"name": role, "roles": [role], "namespaces": places}
            self.tokens[role] = (await _made(self.api.post("/v1/acl/tokens", body))).body["secret"]
        self.tokens["none"] = ""

    async def status(self, line: Line, who: str, place: str) -> int:
        """Ask, and give the status; 404 where a list does not show the thing."""
        await self.prepare()
        asked = question(line, place, self.ids)
        reply = await self.api.do(line.method, asked.path, asked.body, token=self.tokens[who])
        if asked.shows is None or reply.status != 200:
            return reply.status
        name, value = asked.shows
        return 200 if value in [item[name] for item in reply.body] else 404


async def _made(asking: Any) -> Reply:  # noqa: ANN401 - a coroutine
    reply: Reply = await asking
    assert reply.status in (200, 201), reply.body
    return reply


@contextlib.asynccontextmanager
async def cast() -> AsyncIterator[Cast]:
    """Make an api, and everybody who asks it."""
    async with rig() as api:
        await coordinated(api)
        await candidates(api, "reconciler-1", "reconciler-2")
        made = Cast(api)
        await made.introduce()
        await made.prepare()
        yield made


async def deviations(asked: Cast, some: Iterable[Line]) -> list[str]:
    """Ask for every cell of some lines; tell those that are other than the matrix says."""
    found = []
    for line in some:
        for who, cell in line.cells.items():
            for place, expected in zip((OWN, FOREIGN), cell, strict=False):
                status = await asked.status(line, who, place)
                if status != expected:
                    found.append(f"{line.name}: {who} gets {status} in {place}, not {expected}")
    return found


__all__ = ["CALLERS", "CUSTOM", "FOREIGN", "OWN", "Cast", "Line", "cast", "deviations", "lines"]
