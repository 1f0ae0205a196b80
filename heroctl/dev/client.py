"""What dev mode asks of its own API while it starts: is it there, who am I, are the nodes ready."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final, Self

import httpx2

from heroctl.dev.folder import Trouble

_PAUSE_S: Final = 0.05
_TIMEOUT: Final = httpx2.Timeout(10.0, connect=2.0)
_PATIENCE_S: Final = 30.0


class Client:
    """Speaks to one API; a context manager."""

    def __init__(self, url: str) -> None:
        self._http = httpx2.AsyncClient(base_url=url, timeout=_TIMEOUT, trust_env=False)
        self._nodes_index = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._http.aclose()

    async def ready(self, _pid: int = 0) -> bool:
        """Tell whether the api takes traffic."""
        try:
            return (await self._http.get("/v1/health/ready")).status_code == 200
        except httpx2.HTTPError:
            return False

    async def become(self, token: str, password: str) -> str:
        """Act as admin from now on: with the token we have, or with a new one made by the password. Return it."""
        if token:
            self._http.headers["Authorization"] = f"Bearer {token}"
            if (await self._ask("GET", "/v1/acl/tokens")).status_code == 200:
                return token
        login = await self._ask("POST", "/v1/auth/login", {"username": "admin", "password": password})
        if login.status_code != 200:
            raise Trouble(
                f"the password of admin in kept.json is not the cluster's ({_told(login)}); "
                "put the right one there, or begin anew with an empty folder"
            )
        self._http.headers["Authorization"] = f"Bearer {login.json()['token']}"
        made = str((await self._json("POST", "/v1/acl/tokens", {"name": "dev", "roles": ["admin"]}))["secret"])
        self._http.headers["Authorization"] = f"Bearer {made}"
        return made

    async def join_token(self) -> str:
        """Make a token with which one node may join."""
        return str((await self._json("POST", "/v1/cluster/join-tokens", {}))["token"])

    async def nodes(self) -> dict[str, str]:
        """Return every node's name and status, of those that were heard of since this api started.

        What an earlier run left says nothing of now. Waits a moment for news.
        """
        answer = await self._checked("GET", f"/v1/nodes?wait=200ms&index={self._nodes_index}")
        self._nodes_index = int(answer.headers.get("X-HeroCtl-Index", 0))
        return {str(node["name"]): str(node["status"]) for node in answer.json() if node["last_seen_s"] is not None}

    async def remove_node(self, name: str) -> None:
        """Remove a node for good; one that is not there is removed already."""
        answer = await self._ask("DELETE", f"/v1/nodes/{name}")
        if answer.status_code not in (200, 404):
            raise Trouble(f"{name} cannot be removed: {_told(answer)}")

    async def addresses(self, job: str) -> list[str]:
        """List where the running replicas of a job can be reached, as host:port."""
        return [
            f"{alloc['address']}:{port['host']}"
            for alloc in await self._json("GET", f"/v1/allocations?job={job}")
            if alloc["status"] == "running"
            for port in alloc["ports"].values()
        ]

    async def _json(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - any JSON
        return (await self._checked(method, path, body)).json()

    async def _checked(self, method: str, path: str, body: object = None) -> httpx2.Response:
        answer = await self._ask(method, path, body)
        if answer.status_code >= 400:
            raise Trouble(f"the api refuses {method} {path}: {_told(answer)}")
        return answer

    async def _ask(self, method: str, path: str, body: object = None) -> httpx2.Response:
        """Ask, again where the api or what it stands on is away for a moment."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                answer = await self._http.request(method, path, json=body)
                if answer.status_code not in (429, 503) or time.monotonic() > deadline:
                    return answer
            except httpx2.HTTPError as error:
                if time.monotonic() > deadline:
                    raise Trouble(f"the api does not answer {method} {path}: {error}") from error
            await asyncio.sleep(_PAUSE_S * 4)


def _told(answer: httpx2.Response) -> str:
    try:
        body = answer.json()
        return f"{body['error']}: {body['message']}"
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"
