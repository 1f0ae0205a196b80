"""Requests that succeed, and those that are refused for each reason, for every route: what chance would not draw."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, Final

import requests

from api.refusals import caches
from api.routes import ROUTES
from api.row import Row
from eventstore.cursors import PostgresCursors
from eventstore.database import Database
from eventstore.deliveries import CURSOR, Attempt, New, PostgresDeliveries
from eventstore.lease import PostgresLeases
from eventstore.log import Append
from eventstore.postgres import open_log
from eventstore.view import View
from heroctl.domain.assignment import Report
from heroctl.domain.events import AllocPlaced, AllocReported, DeploymentStepped
from heroctl.domain.ids import allocation_id
from tests.api import contract
from tests.api.fuzz import Fuzz, filled
from tests.api.process import Api
from tests.api.specs import INVENTORY, NIGHTLY, batch, spec
from tests.waiting import until

_COUNT: Final = itertools.count(1)
_PASSWORD: Final = "correct horse battery"
_SESSION: Final[dict[str, Any]] = {
    "boot_id": "boot-1",
    "inventory": INVENTORY,
    "capacity": {"cpu": 4.0, "memory": 8_000_000_000, "disk": 50_000_000_000},
    "drivers": {"process": {"healthy": True, "version": "1"}},
    "address": "192.0.2.9",
}
_HOOK: Final = {"url": "https://8.8.8.8/", "events": ["*"]}
_RULE: Final = {"resource": "job", "capabilities": ["read"], "namespace": "*"}


def seeded(made: Api, dsn: str) -> Fuzz:
    """Put something of everything into a cluster, and speak as an admin whom nothing locks out."""
    admin = made.ask("POST", "/v1/acl/tokens", {"name": "fuzz", "roles": ["admin"]}, status=201)["secret"]
    fuzz = Fuzz(made.url, admin, "")
    identity, fuzz.node = joined(fuzz)
    for name in ("web", "shop", "trial"):
        fuzz.ask("POST", "/v1/jobs", json=spec(name))
    for launched in (batch(), batch("nightly", periodic=NIGHTLY)):
        fuzz.ask("POST", "/v1/jobs", json=launched)
    trial = fuzz.ask(
        "POST", "/v1/jobs", json=spec("trial", {"update": {"strategy": "canary"}, "image": "app:2"})
    ).json()
    alloc, *running = asyncio.run(_decide(dsn, identity))
    until(lambda: fuzz.ask("GET", "/v1/cluster/status").json()["coordinator"], what="a coordinator that the api knows")
    fuzz.live = {
        "jobs": ["web", "shop"],
        "nodes": [identity],
        "allocations": [alloc],
        "exec": ["0" * 32],  # nobody waits for it: that is told over a WebSocket only
        "running": running,
        "logs": [alloc],
        "log": ["1", "2"],
    }
    deployments = [each["id"] for each in fuzz.ask("GET", "/v1/deployments").json()]
    fuzz.live["deployments"] = sorted(deployments, key=lambda each: each != trial["deployment_id"])
    fuzz.live |= {"roles": ["viewer", "admin"], "users": ["admin"], "namespaces": ["default"], "docs": ["docs.css"]}
    fuzz.live["alerts"] = [_made(fuzz, "alerts")]
    fuzz.live["webhooks"] = [_made(fuzz, "webhooks")]
    asyncio.run(_delivered(dsn, fuzz.live["webhooks"][0]))
    fuzz.live |= {"policies": ["viewer"], "secrets": [_made(fuzz, "secrets")], "services": ["web", "shop"]}
    return fuzz


async def _decide(dsn: str, node: str) -> list[str]:
    """Coordinate for as long as it lasts: place replicas of a job, have all but the first run, let canaries stand."""
    async with Database(dsn) as database, open_log(database) as log:
        epoch = await PostgresLeases(database).take("nobody", 24 * 3600)
        view = View(log)
        await view.catch_up()
        job = view.state.job("default", "web")
        assert job is not None
        [task] = job.current.tasks
        allocs = [allocation_id(view.state.incarnation, job.uid, n) for n in range(1, 6)]
        placed = [
            AllocPlaced(
                id=alloc,
                uid=job.uid,
                n=n,
                namespace="default",
                job="web",
                task=task.name,
                slot=n - 1,
                version=1,
                content=task.content,
                node=node,
                cpu=0.5,
                memory=1,
                disk=1,
                deployment=job.deployment,
            )
            for n, alloc in enumerate(allocs, 1)
        ]
        trial = view.state.job("default", "trial")
        assert trial is not None
        stands = DeploymentStepped(trial.deployment, trial.uid, "default", "trial", awaiting=True)
        await log.append(Append((*placed, stands), epoch=epoch))
        runs = (AllocReported(node, Report(alloc, attempt=1, phase="running")) for alloc in allocs[1:])
        await log.append(Append(tuple(runs)))
    return allocs


async def _delivered(dsn: str, webhook: str) -> None:
    """Note that a webhook was told of an event."""
    async with Database(dsn) as database, open_log(database) as log:
        rows, cursors, epoch = PostgresDeliveries(database), PostgresCursors(database), (await log.head()).epoch
        await cursors.begin(CURSOR, 1)
        new = New(webhook, 2, "evt_a_2", "job.deployed", b"null", b"{}", 0)
        assert await rows.enqueue(epoch, (await cursors.listed())[CURSOR], 2, 0, new=[new])
        [row] = await rows.first(webhook, 1)
        await rows.settle(row, Attempt("delivered", 0, 0, 1, 204))


def joined(fuzz: Fuzz) -> tuple[str, str]:
    """Let a server join; return its id and token."""
    join = fuzz.ask("POST", "/v1/cluster/join-tokens", json={}).json()["token"]
    made = fuzz.ask("POST", "/v1/nodes/join", json={"token": join, "name": new("node")}, token="").json()
    return made["id"], made["token"]


def new(kind: str) -> str:
    """Make a name that nothing has."""
    return f"{kind}-{next(_COUNT)}"


# ── what succeeds ────────────────────────────────────────────────────────────────────────────────────────────────────


def succeed(fuzz: Fuzz, row: Row, headers: dict[str, str] | None = None) -> requests.Response:
    """Ask a route so that it does what it is for."""
    return fuzz.ask(row.method, _path(fuzz, row), **_given(fuzz, row), headers=headers or {})


_RUNNING: Final = {f"/v1/allocations/{{id}}/{verb}" for verb in ("restart", "signal", "exec")}
_LAUNCHED: Final = {"/v1/jobs/{name}/dispatch": "import", "/v1/jobs/{name}/periodic/force": "nightly"}


def _path(fuzz: Fuzz, row: Row) -> str:
    """Name something that is there; what is to go is made before."""
    if not any(word.startswith("{") for word in row.words):
        return row.path
    if row.path in _LAUNCHED:
        return filled(row, _LAUNCHED[row.path])
    if row.path in _RUNNING:
        running = fuzz.live["running"]  # in turn: of one only so many signals wait
        return filled(row, running[fuzz.asked % len(running)])
    noun = next(before for before, word in itertools.pairwise(row.words) if word.startswith("{"))
    goes = row.method == "DELETE" or (row.method == "PUT" and noun != "namespaces")
    word = _made(fuzz, noun) if goes or noun == "tokens" else fuzz.live[noun][0]
    return filled(row, word).replace(f"/deliveries/{word}", "/deliveries/2")


def _made(fuzz: Fuzz, noun: str) -> str:
    name = new(noun)
    if noun == "nodes":
        return joined(fuzz)[0]
    if noun == "tokens":
        return str(fuzz.ask("POST", "/v1/acl/tokens", json={"name": name, "roles": ["viewer"]}).json()["id"])
    if noun == "webhooks":
        return str(fuzz.ask("POST", "/v1/webhooks", json=_HOOK).json()["id"])
    where = f"/v1/{noun}" if noun in ("jobs", "namespaces", "secrets", "alerts") else f"/v1/acl/{noun}"
    made = fuzz.ask("POST", where, json=spec(name) if noun == "jobs" else _body(noun, name))
    assert made.status_code == 201, made.text
    return name


def _body(noun: str, name: str) -> dict[str, Any]:
    bodies: dict[str, dict[str, Any]] = {
        "users": {"password": _PASSWORD, "roles": ["viewer"]},
        "roles": {"policies": ["viewer"]},
        "policies": {"rules": [_RULE]},
        "namespaces": {"description": "for tests"},
        "secrets": {"value": "s3nh@-forte"},
        "alerts": {"metric": "cpu_percent", "condition": "> 90", "for": "5m"},
    }
    return {"name": name, **bodies[noun]}


def _login(fuzz: Fuzz) -> dict[str, str]:
    return dict(fuzz.ask("POST", "/v1/auth/login", json={"acl_token": fuzz.token}, token="").json())


def _own(fuzz: Fuzz) -> dict[str, Any]:
    """Change the password of a user who has just been made."""
    name = _made(fuzz, "users")
    login = fuzz.ask("POST", "/v1/auth/login", json={"username": name, "password": _PASSWORD}, token="").json()
    return {"token": login["token"], "json": {"current": _PASSWORD, "new": _PASSWORD[::-1]}}


def _renewal(fuzz: Fuzz) -> dict[str, Any]:
    return {"token": _login(fuzz)["refresh_token"]}


def _join(fuzz: Fuzz) -> dict[str, Any]:
    token = fuzz.ask("POST", "/v1/cluster/join-tokens", json={}).json()["token"]
    return {"json": {"token": token, "name": new("node")}, "token": ""}


def _to_itself(fuzz: Fuzz) -> dict[str, Any]:
    return {"json": {"target": fuzz.ask("GET", "/v1/cluster/status").json()["coordinator"]}}


def _sync(fuzz: Fuzz) -> dict[str, Any]:
    opened = fuzz.ask("POST", "/v1/agent/session", json=_SESSION, token=fuzz.node).json()["session"]
    return {"json": {"session": opened, "seq": 1}, "token": fuzz.node}


def _samples(fuzz: Fuzz) -> dict[str, Any]:
    session = fuzz.ask("POST", "/v1/agent/session", json=_SESSION, token=fuzz.node).json()["session"]
    taken = [{"age": 0.5, "samples": [{"values": {"cpu": 0.5, "memory": 1e9}}]}]
    return {"json": {"session": session, "taken": taken}, "token": fuzz.node}


def _logs(fuzz: Fuzz) -> dict[str, Any]:
    session = fuzz.ask("POST", "/v1/agent/session", json=_SESSION, token=fuzz.node).json()["session"]
    return {"json": {"session": session, "shipments": []}, "token": fuzz.node}


def _secrets(fuzz: Fuzz) -> dict[str, Any]:
    opened = fuzz.ask("POST", "/v1/agent/session", json=_SESSION, token=fuzz.node).json()["session"]
    return {"json": {"session": opened, "allocs": fuzz.live["allocations"]}, "token": fuzz.node}


def _changed(noun: str) -> dict[str, Any]:
    body = _body(noun, "")
    return {"json": {name: value for name, value in body.items() if name not in ("name", "password")}}


# Body, and token where it is not the admin's. A route that is not here gets the example of the document.
_GIVEN: Final[dict[str, Callable[[Fuzz], dict[str, Any]]]] = {
    "GET /v1/metrics/query": lambda _: {"params": {"metric": "cpu"}},
    "POST /v1/auth/login": lambda fuzz: {"json": {"acl_token": fuzz.token}, "token": ""},
    "POST /v1/auth/refresh": _renewal,
    "POST /v1/auth/logout": lambda fuzz: {"token": _login(fuzz)["token"]},
    "POST /v1/acl/self/password": _own,
    "POST /v1/acl/keys/rotate": lambda _: {"json": {}},
    "POST /v1/acl/tokens": lambda _: {"json": {"name": new("token"), "roles": ["viewer"]}},
    "POST /v1/acl/users": lambda _: {"json": _body("users", new("user"))},
    "POST /v1/acl/roles": lambda _: {"json": _body("roles", new("role"))},
    "POST /v1/acl/policies": lambda _: {"json": _body("policies", new("policy"))},
    "POST /v1/namespaces": lambda _: {"json": _body("namespaces", new("space"))},
    "POST /v1/secrets": lambda _: {"json": _body("secrets", new("secret"))},
    "POST /v1/secrets/rekey": lambda _: {"json": {}},
    "POST /v1/alerts": lambda _: {"json": _body("alerts", new("alert"))},
    "PUT /v1/alerts/{name}": lambda _: _changed("alerts"),
    "POST /v1/webhooks": lambda _: {"json": _HOOK},
    "PATCH /v1/webhooks/{id}": lambda _: {"json": {"description": "said anew"}},
    "POST /v1/webhooks/{id}/rotate": lambda _: {"json": {}},
    "POST /v1/webhooks/{id}/deliveries/redeliver": lambda _: {"json": {"first": 1, "last": 9}},
    "POST /v1/secrets/{name}/rollback": lambda _: {"json": {"version": 1}},
    "PUT /v1/acl/users/{name}/password": lambda _: {"json": {"password": _PASSWORD[::-1]}},
    "PUT /v1/acl/users/{name}": lambda _: _changed("users"),
    "PUT /v1/acl/roles/{name}": lambda _: _changed("roles"),
    "PUT /v1/acl/policies/{name}": lambda _: _changed("policies"),
    "PUT /v1/namespaces/{name}": lambda _: _changed("namespaces"),
    "POST /v1/jobs": lambda _: {"json": spec(new("job"))},
    "POST /v1/jobs/plan": lambda _: {"json": spec(new("job"))},
    "POST /v1/jobs/{name}/rollback": lambda _: {"json": {"version": 1}},
    "POST /v1/jobs/{name}/scale": lambda _: {"json": {"count": 2}},
    "POST /v1/nodes/{id}/drain": lambda _: {"json": {"dry_run": True}},
    "POST /v1/nodes/{id}/unknown/release": lambda _: {"json": {}},
    "PUT /v1/cluster/settings": lambda _: {"json": {"preemption": True}},
    "PUT /v1/cluster/loglevel": lambda _: {"json": {"level": None}},
    "POST /v1/cluster/brake": lambda _: {"json": {"on": False}},
    "POST /v1/raft/transfer-leadership": _to_itself,
    "POST /v1/nodes/join": _join,
    "POST /v1/agent/session": lambda fuzz: {"json": _SESSION, "token": fuzz.node},
    "POST /v1/agent/sync": _sync,
    "POST /v1/agent/secrets": _secrets,
    "GET /v1/agent/exec/{id}": lambda fuzz: {"token": fuzz.node},
    "POST /v1/agent/samples": _samples,
    "POST /v1/agent/logs": _logs,
    "POST /v1/agent/services": lambda fuzz: {"json": {"known": ""}, "token": fuzz.node},
}


def _given(fuzz: Fuzz, row: Row) -> dict[str, Any]:
    known = _GIVEN.get(f"{row.method} {row.path}")
    if known is not None:
        return known(fuzz)
    body = contract.today()["paths"][row.path][row.method.lower()].get("requestBody")
    return {"json": body["content"]["application/json"]["example"]} if body else {}


# ── what is refused, for whatever route ──────────────────────────────────────────────────────────────────────────────


def refused(fuzz: Fuzz, row: Row, removed: str) -> None:
    """Ask a route for everything that it refuses for what it is. `removed`: the token of a node that was removed."""
    path = filled(row, "nothing-there") if "{" in row.path else row.path
    own = fuzz.node if row.access.kind == "node" else fuzz.token
    _expect(fuzz.ask(row.method, f"{path}?nonsense=1", token=own), 400)
    if row.access.kind != "public":
        _expect(fuzz.ask(row.method, path, token=""), 401)
        other = fuzz.token if row.access.kind == "node" else fuzz.node
        _expect(fuzz.ask(row.method, path, token=other), 403)
        _expect(fuzz.ask(row.method, path, token=removed), 410)
    _expect(fuzz.ask(row.method, f"{path}?long={'x' * 9000}", token=own), 414)
    if row.method in ("POST", "PUT", "PATCH"):
        _expect(fuzz.ask(row.method, path, data=b" " * ((1 << 20) + 1), token=own), 413)
    if "404" in _told(row) and row.access.kind != "node" and "{" in row.path:
        nothing = filled(row, "999999999" if row.path.startswith("/v1/log/") else "nothing-there")
        _expect(fuzz.ask(row.method, nothing, **_given(fuzz, row)), 404)


def _told(row: Row) -> dict[str, Any]:
    told: dict[str, Any] = contract.today()["paths"][row.path][row.method.lower()]["responses"]
    return told


def _expect(reply: requests.Response, status: int) -> None:
    assert reply.status_code == status, (reply.request.method, reply.request.url, reply.status_code, reply.text[:300])


def each_once(fuzz: Fuzz, times: int = 1) -> str:
    """Ask every route so that it succeeds, and so that it refuses; return the token of a node that was removed."""
    gone, removed = joined(fuzz)
    fuzz.ask("DELETE", f"/v1/nodes/{gone}")
    for row in ROUTES:
        replies = [succeed(fuzz, row) for _ in range(times)]
        for reply in replies:
            wanted = (426,) if row.meet is not None else (200, 201)  # no plain request gets further
            assert reply.status_code in wanted, (row.method, reply.url, reply.text[:500])
        if caches(row):
            reply = replies[-1]
            _expect(fuzz.ask(row.method, reply.request.path_url, headers={"If-None-Match": reply.headers["ETag"]}), 304)
        refused(fuzz, row, removed)
    return removed


# Path, what is sent, and the status that must come of it.
_CONFLICTS: Final[tuple[tuple[str, str, dict[str, Any], int], ...]] = (
    ("DELETE", "/v1/jobs/web?check_index=1", {}, 409),
    ("POST", "/v1/jobs/web/stop?check_index=1", {}, 409),
    ("POST", "/v1/jobs/web/rollback?check_index=1", {}, 409),
    ("POST", "/v1/raft/transfer-leadership", {}, 409),
    ("POST", "/v1/raft/transfer-leadership", {"json": {"target": "nobody-there"}}, 404),
    ("POST", "/v1/jobs/web/rollback", {"json": {"version": 999}}, 404),
    ("POST", "/v1/secrets?check_index=1", {"json": {"name": "unseen", "value": "x"}}, 409),
    ("POST", "/v1/secrets?namespace=nowhere", {"json": {"name": "x", "value": "x"}}, 404),
    ("POST", "/v1/alerts?namespace=nowhere", {"json": _body("alerts", "x")}, 404),
    ("POST", "/v1/webhooks?namespace=nowhere", {"json": _HOOK}, 404),
    ("POST", "/v1/jobs/plan?check_index=0", {"json": spec("web")}, 409),
    ("POST", "/v1/jobs/plan", {"json": spec("web", namespace="nowhere")}, 404),
    ("POST", "/v1/jobs/web/scale?check_index=1", {"json": {"count": 1}}, 409),
    ("POST", "/v1/jobs/web/restart", {}, 409),  # it is stopped
    ("POST", "/v1/jobs/web/dispatch", {}, 409),
    ("POST", "/v1/jobs/import/periodic/force", {}, 409),
    ("GET", "/v1/jobs/web/versions/diff?to=999", {}, 404),
    ("POST", "/v1/jobs?check_index=0", {"json": spec("web")}, 409),
    ("POST", "/v1/jobs", {"json": spec("web", namespace="nowhere")}, 404),
    ("POST", "/v1/acl/roles", {"json": {"name": "viewer", "policies": []}}, 409),
    ("POST", "/v1/acl/policies", {"json": {"name": "viewer", "rules": []}}, 409),
    ("POST", "/v1/namespaces", {"json": {"name": "default"}}, 409),
    ("POST", "/v1/acl/users", {"json": {"name": "admin", "password": _PASSWORD, "roles": ["viewer"]}}, 409),
    ("POST", "/v1/acl/tokens", {"json": {"name": "x", "roles": ["viewer"], "user": "nobody"}}, 404),
    ("PUT", "/v1/acl/roles/viewer", {"json": {"policies": []}}, 409),
    ("PUT", "/v1/acl/policies/viewer", {"json": {"rules": []}}, 409),
    ("DELETE", "/v1/acl/roles/viewer", {}, 409),
    ("DELETE", "/v1/acl/policies/viewer", {}, 409),
    ("DELETE", "/v1/acl/users/admin", {}, 409),
    ("PUT", "/v1/acl/users/admin", {"json": {"roles": ["viewer"]}}, 409),
    ("DELETE", "/v1/namespaces/default", {}, 409),
    ("POST", "/v1/auth/login", {"json": {"username": "admin", "password": "no"}, "token": ""}, 401),
    ("POST", "/v1/auth/refresh", {"json": {"refresh_token": "rt_no"}, "token": ""}, 401),
    ("POST", "/v1/nodes/join", {"json": {"token": "no", "name": "n"}, "token": ""}, 401),
)


def conflicts(fuzz: Fuzz, removed: str) -> None:
    """Ask for what is true elsewhere, or earlier, and not here and now."""
    for method, path, given, status in _CONFLICTS:
        _expect(fuzz.ask(method, path, **given), status)
    over = fuzz.ask("GET", "/v1/deployments?job=web&status=superseded").json()[0]["id"]
    for verb in ("promote", "pause", "resume", "fail"):
        _expect(fuzz.ask("POST", f"/v1/deployments/{over}/{verb}"), 409)
    _expect(fuzz.ask("POST", "/v1/auth/login", json={"acl_token": removed}, token=""), 410)
    _expect(fuzz.ask("POST", "/v1/auth/refresh", token=removed), 410)
    _expect(fuzz.ask("POST", "/v1/agent/sync", json={"session": 10**9, "seq": 1}, token=fuzz.node), 409)
    key, (emptied, _) = {"Idempotency-Key": new("key")}, joined(fuzz)
    for deadline, status in ((60, 200), (90, 409)):
        body = {"deadline_seconds": deadline}
        _expect(fuzz.ask("POST", f"/v1/nodes/{emptied}/drain", json=body, headers=key), status)
    kept = _made(fuzz, "secrets")
    _expect(fuzz.ask("DELETE", f"/v1/secrets/{kept}?check_index=1"), 409)
    name = new("twice")
    _expect(fuzz.ask("POST", "/v1/nodes/join", json={**_join(fuzz)["json"], "name": name}, token=""), 201)
    _expect(fuzz.ask("POST", "/v1/nodes/join", json={**_join(fuzz)["json"], "name": name}, token=""), 409)
