"""Who may what: every route with every role, and nothing without a token."""

from __future__ import annotations

import inspect
from itertools import pairwise
from typing import Final

import pytest

from api import access, routes
from api.access import ROLES, Principal, may, rights_of
from api.routes import ROUTES, Row
from tests.api.rig import Rig
from tests.api.specs import join

# What the contract says of each role; spelled out here so that a change of the table has to be made twice.
VIEWER: Final = {
    "GET /v1/jobs",
    "GET /v1/jobs/{name}",
    "GET /v1/jobs/{name}/versions",
    "POST /v1/jobs/validate",
    "GET /v1/deployments",
    "GET /v1/deployments/{id}",
    "GET /v1/allocations",
    "GET /v1/allocations/{id}",
    "GET /v1/nodes",
    "GET /v1/nodes/{id}",
    "GET /v1/cluster/status",
    "GET /v1/cluster/peers",
    "POST /v1/auth/logout",
}
DEPLOYER: Final = VIEWER | {"POST /v1/jobs", "POST /v1/jobs/{name}/stop", "POST /v1/allocations/{id}/stop"}
OPERATOR: Final = DEPLOYER | {
    "DELETE /v1/jobs/{name}",
    "POST /v1/nodes/{id}/eligibility",
    "DELETE /v1/nodes/{id}",
    "POST /v1/cluster/join-tokens",
}
ADMIN: Final = OPERATOR | {
    "GET /v1/acl/keys",
    "POST /v1/acl/keys/rotate",
    "GET /v1/acl/tokens",
    "POST /v1/acl/tokens",
    "DELETE /v1/acl/tokens/{id}",
    "GET /v1/audit",
    "GET /v1/log",
    "GET /v1/log/{index}",
    "GET /v1/log/verify",
}
PUBLIC: Final = {
    "GET /v1/health/ready",
    "GET /v1/health/live",
    "GET /v1/openapi.json",
    "GET /v1/docs",
    "GET /v1/docs/{file}",
    "GET /v1/schema/job.json",
    "POST /v1/auth/login",
    "POST /v1/auth/refresh",
    "POST /v1/nodes/join",
}
AGENT: Final = {"POST /v1/agent/session", "POST /v1/agent/sync"}
MAY: Final = {"viewer": VIEWER, "deployer": DEPLOYER, "operator": OPERATOR, "admin": ADMIN}


def name(row: Row) -> str:
    return f"{row.method} {row.path}"


def concrete(row: Row) -> str:
    words = {"name": "nothing", "id": "nothing", "index": "1", "file": "docs.css"}
    return row.path.format(**words)


def test_every_route_is_in_this_table() -> None:
    assert {name(row) for row in ROUTES} == ADMIN | PUBLIC | AGENT
    assert len({name(row) for row in ROUTES}) == len(ROUTES)


def test_a_route_without_access_cannot_be_written() -> None:
    for make in (routes.read, routes.do, Row):
        assert inspect.signature(make).parameters["access"].default is inspect.Parameter.empty


async def statuses(api: Rig, token: str) -> dict[str, int]:
    """Ask every route but those that are public with a token."""
    found: dict[str, int] = {}
    for row in ROUTES:
        if row.access.kind != "public" and row.path != "/v1/auth/logout":
            found[name(row)] = (await api.do(row.method, concrete(row), b"no json", token=token)).status
    return found


@pytest.mark.parametrize("role", MAY)
async def test_a_role_may_what_it_may_and_nothing_else(api: Rig, role: str) -> None:
    for route, status in (await statuses(api, await api.role(role))).items():
        assert (status != 403) == (route in MAY[role]), (role, route, status)
        assert status in (200, 400, 403, 404), (role, route, status)


async def test_two_roles_add_up(api: Rig) -> None:
    assert await statuses(api, await api.role("viewer", "operator")) == await statuses(api, await api.role("operator"))


async def test_without_a_token_nothing_is_said(api: Rig) -> None:
    for row in ROUTES:
        reply = await api.do(row.method, concrete(row), b"no json", token="")
        if row.access.kind == "public":
            assert reply.status in (200, 400, 401), name(row)
        else:
            assert (reply.status, reply.error) == (401, "token_invalid"), name(row)


async def test_a_nodes_token_opens_the_agents_routes_and_no_other(api: Rig) -> None:
    _, token = await join(api)
    for route, status in (await statuses(api, token)).items():
        assert (status != 403) == (route in AGENT), (route, status)


async def test_a_user_is_no_agent(api: Rig) -> None:
    for route in AGENT:
        method, _, path = route.partition(" ")
        assert (await api.do(method, path, {})).error == "forbidden"


async def test_the_gate_stands_before_the_body(api: Rig) -> None:
    asked = False
    token = await api.role("viewer")
    scope_headers = [(b"authorization", f"Bearer {token}".encode()), (b"content-length", b"100")]
    sent: list[int] = []

    async def receive() -> dict[str, object]:
        nonlocal asked
        asked = True
        return {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        if "status" in message:
            sent.append(int(str(message["status"])))

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/jobs",
        "query_string": b"",
        "headers": scope_headers,
        "client": None,
    }
    await api.app(scope, receive, send)
    assert sent == [403]
    assert not asked


def test_roles_grow_and_unknown_ones_add_nothing() -> None:
    order = ["viewer", "deployer", "operator"]
    for lower, higher in pairwise(order):
        assert ROLES[lower] < ROLES[higher]
    assert rights_of(["emperor"]) == frozenset()
    assert rights_of([]) == frozenset()
    assert not access.allows(may("job:read"), Principal("user:x"))
    assert access.allows(may("job:read"), Principal("user:x", rights_of(["admin"])))
    assert not access.allows(may("job:read"), Principal("node:x", node="x"))
