"""Users, tokens, roles and policies for the api's tests."""

from __future__ import annotations

from typing import Any, Final

from tests.api.rig import Reply, Rig

LONG: Final = "a long enough one"
READS: Final = {"resource": "job", "namespace": "default", "capabilities": ["read"]}


async def made(api: Rig, noun: str, **body: Any) -> Reply:  # noqa: ANN401 - fields of a body
    """Make something, and hold that it was."""
    reply = await api.post(f"/v1/{noun}", body)
    assert reply.status == 201, reply.body
    return reply


async def user(api: Rig, name: str, *roles: str, **more: Any) -> str:  # noqa: ANN401 - fields of a body
    """Make a user, log it in, and return its token."""
    await made(api, "acl/users", name=name, password=LONG, roles=list(roles), **more)
    return await login(api, name)


async def login(api: Rig, name: str, password: str = LONG) -> str:
    """Log in."""
    reply = await api.post("/v1/auth/login", {"username": name, "password": password}, token="")
    assert reply.status == 200, reply.body
    return str(reply.body["token"])


async def token(api: Rig, *roles: str, by: str = "", **more: Any) -> Reply:  # noqa: ANN401 - fields of a body
    """Ask for an ACL token."""
    body = {"name": "t", "roles": list(roles), **more}
    return await api.post("/v1/acl/tokens", body, token=by or api.token)


async def secret(api: Rig, *roles: str, by: str = "", **more: Any) -> str:  # noqa: ANN401 - fields of a body
    """Make an ACL token, and return it."""
    reply = await token(api, *roles, by=by, **more)
    assert reply.status == 201, reply.body
    return str(reply.body["secret"])


async def status(api: Rig, path: str, who: str) -> int:
    """GET, and give the status."""
    return (await api.get(path, token=who)).status


async def policy(api: Rig, name: str, *rules: dict[str, Any]) -> str:
    """Make a policy and a role of it and of nothing else; return its name."""
    await made(api, "acl/policies", name=name, rules=list(rules))
    await made(api, "acl/roles", name=name, policies=[name])
    return name
