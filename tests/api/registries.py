"""Registries for tests: one of a few lines whose every answer is told, and Debian's real one."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import httpx2

from agents.ports import listens
from tests.servers import free_port
from tests.waiting import until

INDEX = "application/vnd.oci.image.index.v1+json"


def digest(text: str) -> str:
    """Give the digest of a manifest of this text."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


class Asked(NamedTuple):
    """What a registry was asked."""

    method: str
    path: str
    headers: dict[str, str]


class Told(NamedTuple):
    """What it answers."""

    status: int = 200
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes = b""


@dataclass
class Fake:
    """Answers as `answers` says for a path, with 404 for any other; None: never."""

    answers: dict[str, Callable[[Asked], Told | None]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    port: int = 0

    @property
    def host(self) -> str:
        """Its address as an image has it."""
        return f"localhost:{self.port}"

    def has(self, repository: str, tag: str, manifest: str, *, named: bool = True) -> str:
        """Hold a manifest under a tag and return its digest. `named`: it tells the digest by itself."""
        said = {"Docker-Content-Digest": digest(manifest)} if named else {}
        told = Told(200, {"Content-Type": INDEX, **said}, manifest.encode())
        self.answers[f"/v2/{repository}/manifests/{tag}"] = lambda _: told
        return digest(manifest)

    def wants_token(self, repository: str, tag: str, manifest: str, token: object, *, realm: str = "") -> str:
        """Hold a manifest for those who have fetched a token."""
        place = realm or f"http://{self.host}/token"
        challenge = f'Bearer realm="{place}",service="reg,istry",scope="repository:{repository}:pull"'
        found = Told(200, {"Docker-Content-Digest": digest(manifest)}, manifest.encode())

        def answer(asked: Asked) -> Told:
            given = asked.headers.get("authorization") == "Bearer let-me-in"
            return found if given else Told(401, {"WWW-Authenticate": challenge})

        self.answers[f"/v2/{repository}/manifests/{tag}"] = answer
        self.answers["/token"] = lambda _: Told(200, {}, json.dumps(token).encode())
        return digest(manifest)


@contextlib.asynccontextmanager
async def fake(tls: ssl.SSLContext | None = None) -> AsyncIterator[Fake]:
    """Run one on a free port of this machine."""
    made = Fake()
    handling: set[asyncio.Task[object]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        current = asyncio.current_task()
        assert current is not None
        handling.add(current)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, target, _ = head[0].split()
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            asked = Asked(method, target, headers)
            made.asked.append(asked)
            answer = made.answers.get(target.partition("?")[0])
            told = answer(asked) if answer is not None else Told(404)
            if told is None:
                await asyncio.Event().wait()
            assert told is not None
            lines = [f"HTTP/1.1 {told.status} x", f"Content-Length: {len(told.body)}"]
            lines += [f"{name}: {value}" for name, value in told.headers.items()]
            writer.write("\r\n".join([*lines, "", ""]).encode() + (b"" if method == "HEAD" else told.body))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made
        for task in handling:
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)


@dataclass
class Registry:
    """Debian's registry on a folder and a port of this machine; it can be ended and started again."""

    folder: Path
    port: int = field(default_factory=free_port)
    users: str = ""  # lines of an htpasswd file; none: it serves everybody
    _process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """Its address as an image has it."""
        return f"localhost:{self.port}"

    def start(self) -> None:
        """Start it and return when it listens."""
        self.folder.mkdir(exist_ok=True)
        config = self.folder / "registry.yml"
        storage = f"storage:\n  filesystem:\n    rootdirectory: {self.folder}/images\n  delete:\n    enabled: true\n"
        config.write_text(f"version: 0.1\n{storage}http:\n  addr: 127.0.0.1:{self.port}\n{self._auth()}")
        with (self.folder / "registry.log").open("ab") as log:
            self._process = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
        until(lambda: listens(self.port), what="the registry")

    def _auth(self) -> str:
        if not self.users:
            return ""
        (self.folder / "users").write_text(self.users)
        return f"auth:\n  htpasswd:\n    realm: test\n    path: {self.folder}/users\n"

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            process, self._process = self._process, None
            process.terminate()
            process.wait(10)

    def put(self, repository: str, tag: str, manifest: bytes, kind: str) -> str:
        """Store a manifest as a push does; return its digest as the registry says it."""
        url = f"http://127.0.0.1:{self.port}/v2/{repository}/manifests/{tag}"
        reply = httpx2.put(url, content=manifest, headers={"Content-Type": kind})
        assert reply.status_code == 201, reply.text
        return str(reply.headers["docker-content-digest"])


# robot:beep-boop, as htpasswd -B has it.
ROBOT = "robot:$2b$06$d3LyKbvjm0aCejjWHqvygO/x5Q3IzfRt4WGSpGqigvs5XaA28/0zu\n"


@contextlib.contextmanager
def registry(folder: Path, *, users: str = "") -> Iterator[Registry]:
    """Run a real registry that knows no image yet. `users`: those whom it serves."""
    made = Registry(folder, users=users)
    try:
        made.start()
        yield made
    finally:
        made.stop()
