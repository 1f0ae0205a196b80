"""A whole api without a server: the ASGI application over a log in memory, asked directly, its clocks in hand."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final, TypedDict, Unpack

from api import bootstrap
from api.app import build
from api.bounds import Bounds
from api.front import Front
from api.gate import Gate
from api.keys import VaultKeys, keyring
from api.limits import Limits, Sizes
from api.parts import Parts
from api.past import Archive
from api.pulse import Pulse
from api.reads import Pages
from api.requestlog import RequestLog
from api.trail import Trail
from api.usage import Usage
from api.wait import Waiters
from api.world import World
from api.write import Writer
from eventstore.acts import MemoryActs
from eventstore.beats import MemoryBeats
from eventstore.handover import MemoryHandovers
from eventstore.lease import MemoryLeases
from eventstore.log import Append
from eventstore.master import Master, Read, given
from eventstore.members import MemoryMembers, Present
from eventstore.memory import MemoryLog
from eventstore.memory_deliveries import MemoryDeliveries
from eventstore.memory_samples import MemorySamples
from eventstore.refusals import MemoryRefusals
from eventstore.sessions import MemorySessions
from eventstore.vault import MemoryVault, Vault
from eventstore.view import View
from heroctl.domain.events import Event
from heroctl.domain.records import Member
from tests.api import contract
from tests.api.past import MemoryProver, MemoryTeller
from tests.api.remembered import Remembered
from tests.waiting import eventually

EPOCH: Final = 1_790_000_000.0
PASSWORD: Final = "correct horse"
PLENTY: Final = 1_000_000  # of what is limited
MASTER_KEYS: Final = ("pXq2uT7m0o9e3xYl5cV1bN8aS4dF6gH0jKzRwQiErTo=",)
MASTER: Final = given("", MASTER_KEYS)
HELD: Final = 60.0  # seconds after which a request that should have been answered is a failure


@dataclass(slots=True)
class Clock:
    """Seconds since the epoch, and monotonic seconds; both stand still until somebody moves them."""

    now: float = EPOCH
    ticks: float = 100.0

    def wall(self) -> float:
        """Seconds since the epoch."""
        return self.now

    def ms(self) -> int:
        """The same in ms."""
        return int(self.now * 1000)

    def monotonic(self) -> float:
        """Seconds of a clock that begins somewhere else."""
        return self.ticks


@dataclass(slots=True)
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:  # noqa: ANN401 - JSON
        """The body as JSON."""
        return json.loads(self.raw)

    @property
    def index(self) -> int:
        """What X-HeroCtl-Index says."""
        return int(self.headers["x-heroctl-index"])

    @property
    def error(self) -> str:
        """The refusal's code; the body must have the shape of all refusals, and nothing else."""
        body = self.body
        assert body.keys() - {"details"} == {"error", "message", "request_id"}, body
        assert body["request_id"] == self.headers["x-request-id"]
        assert isinstance(body["message"], str)
        assert body["message"]
        return str(body["error"])


class More(TypedDict, total=False):
    """What else a request may have."""

    token: str  # the admin's unless given; "": none
    headers: dict[str, str]
    chunk: int  # bytes of body a message; all in one unless given


@dataclass(slots=True)
class Asking:
    """A request under way, whose client may leave."""

    task: asyncio.Task[Reply | None]
    left: asyncio.Event
    pieces: list[bytes] = field(default_factory=list)  # of the body, as they come

    async def reply(self) -> Reply:
        """Wait for the answer."""
        async with asyncio.timeout(HELD):
            reply = await self.task
        assert reply is not None, "nothing was answered"
        return reply

    async def leave(self) -> None:
        """Hang up, and wait until the server has noticed."""
        self.left.set()
        async with asyncio.timeout(HELD):
            await self.task


@dataclass(slots=True)
class Rig:
    """The application, and everything that it stands on."""

    app: Front
    parts: Parts
    log: MemoryLog
    clock: Clock
    lines: list[bytes]
    leases: MemoryLeases
    members: MemoryMembers
    beats: MemoryBeats
    sessions: MemorySessions
    teller: MemoryTeller
    prover: MemoryProver
    token: str = ""
    _asked: list[asyncio.Task[Any]] = field(default_factory=list)

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        **more: Unpack[More],
    ) -> Asking:
        """Send a request; a body that is not bytes is sent as JSON."""
        chunk = more.get("chunk", 0)
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent = {"host": "test", "content-length": str(len(raw)), **more.get("headers", {})}
        token = more.get("token", self.token)
        if token:
            sent.setdefault("authorization", f"Bearer {token}")
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in sent.items()],
            "client": ("192.0.2.7", 4711),
            "server": ("test", 80),
            "state": {},
        }
        left = asyncio.Event()
        pieces: list[bytes] = []
        task = asyncio.get_running_loop().create_task(_exchange(self.app, scope, raw, chunk, left, pieces=pieces))
        self._asked.append(task)
        return Asking(task, left, pieces)

    async def do(self, method: str, path: str, body: object = None, **more: Unpack[More]) -> Reply:
        """Send a request and wait for the answer."""
        return await self.ask(method, path, body, **more).reply()

    async def get(self, path: str, **more: Unpack[More]) -> Reply:
        """GET, and wait for the answer."""
        return await self.do("GET", path, **more)

    async def post(self, path: str, body: object = None, **more: Unpack[More]) -> Reply:
        """POST, and wait for the answer."""
        return await self.do("POST", path, body, **more)

    async def append(self, *events: Event, moves: tuple[str, ...] = (), epoch: int | None = None) -> int:
        """Append as another process would, and wait until the view has it."""
        appended = await self.log.append(Append(events, moves, epoch=epoch))
        assert await self.parts.view.reached(appended.last, HELD)
        return appended.last

    async def decide(self, *events: Event) -> int:
        """Append decisions as the coordinator would."""
        return await self.append(*events, epoch=self.log.epoch)

    async def pass_(self, seconds: float) -> None:
        """Let time pass, in which the log answers."""
        self.clock.ticks += seconds
        self.log.ring()
        await eventually(lambda: not self.parts.view.stale_seconds, what="an answer of the log")

    async def waiting(self, count: int) -> None:
        """Wait until so many long polls wait."""
        await eventually(lambda: len(self.parts.waiters) == count, what=f"{count} waiters")

    async def role(self, *roles: str) -> str:
        """Make an ACL token with these roles, and return it."""
        made = await self.post("/v1/acl/tokens", {"name": "-".join(roles) or "none", "roles": list(roles)})
        assert made.status == 201, made.body
        return str(made.body["secret"])


async def _exchange(
    app: Front, scope: dict[str, Any], raw: bytes, chunk: int, left: asyncio.Event, *, pieces: list[bytes]
) -> Reply | None:
    size = chunk or max(len(raw), 1)
    parts = [raw[at : at + size] for at in range(0, len(raw), size)] or [b""]
    messages = [
        {"type": "http.request", "body": part, "more_body": number < len(parts)} for number, part in enumerate(parts, 1)
    ]
    started: dict[str, Any] = {}

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            started.update(message)
        else:
            pieces.append(message["body"])

    await app(scope, receive, send)
    if not started:
        return None
    headers = {name.decode().lower(): value.decode("latin-1") for name, value in started["headers"]}
    assert len(headers) == len(started["headers"]), started["headers"]
    reply = Reply(started["status"], headers, b"".join(pieces))
    _documented(scope["method"], scope["path"], reply)
    return reply


def _documented(method: str, path: str, reply: Reply) -> None:
    """Hold an answer to the OpenAPI document."""
    if method == "HEAD" or reply.status == 204:
        assert not reply.raw
        return
    row = contract.row_of(method, path)
    if row is None:
        assert contract.stray(reply.error), f"{method} {path}: {reply.error} is told for no path"
        return
    raw = gzip.decompress(reply.raw) if reply.headers.get("content-encoding") == "gzip" else reply.raw
    fault = contract.broken(row, reply.status, reply.headers, raw)
    assert not fault, fault


@contextlib.asynccontextmanager
async def rig(*, keys: Read = MASTER) -> AsyncIterator[Rig]:
    """Make an api over an empty log, with user admin, and log in. `keys`: the master keys of secrets."""
    clock = Clock()
    vault = MemoryVault(clock.monotonic)
    async with _running(MemoryLog(clock.ms), clock, vault, MemorySessions(clock.wall, vault), keys=keys) as made:
        login = await made.post("/v1/auth/login", {"username": "admin", "password": PASSWORD}, token="")
        made.token = login.body["token"]
        yield made


@contextlib.asynccontextmanager
async def beside(api: Rig, *, keys: Read = MASTER) -> AsyncIterator[Rig]:
    """Start another process of the same cluster, or the same one anew."""
    async with _running(api.log, api.clock, api.parts.vault, api.sessions, leases=api.leases, keys=keys) as made:
        made.parts.usage.samples = api.parts.usage.samples
        await made.parts.pulse.look()
        made.token = api.token
        yield made


@contextlib.asynccontextmanager
async def _running(
    log: MemoryLog,
    clock: Clock,
    vault: Vault,
    sessions: MemorySessions,
    *,
    leases: MemoryLeases | None = None,
    keys: Read,
) -> AsyncIterator[Rig]:
    master = Master(vault, keys)
    await master.begin()
    view = View(log, clock=clock.monotonic)
    following = asyncio.get_running_loop().create_task(view.run())
    try:
        await view.catch_up()
        made = await _made(
            clock, view, log, vault, sessions, leases=leases or MemoryLeases(log, clock.monotonic), master=master
        )
        await eventually(lambda: view.started)
        yield made
        for task in made._asked:
            task.cancel()
        await asyncio.gather(*made._asked, return_exceptions=True)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


def _pulse(clock: Clock, view: View, gate: Gate, waiters: Waiters, **rows: Any) -> Pulse:  # noqa: ANN401 - as it takes them
    def revoked(ended: frozenset[str]) -> None:
        if gate.revoke(ended):
            waiters.end(gate.still)

    return Pulse(
        view=view,
        **rows,
        keyring=gate.keyring,
        streams=None,
        me=Present(Member("api-test", "api", "192.0.2.1:8080", "1.2.3")),
        clock=clock.monotonic,
        revoked=revoked,
        usage=Usage(MemorySamples(), clock.wall),
    )


async def _made(
    clock: Clock,
    view: View,
    log: MemoryLog,
    vault: Vault,
    sessions: MemorySessions,
    *,
    leases: MemoryLeases,
    master: Master,
) -> Rig:
    beats, members = MemoryBeats(), MemoryMembers(clock.monotonic)
    gate = Gate(view, vault, await keyring(VaultKeys(vault), clock.wall), clock.wall)
    waiters = Waiters(view, chance=lambda: 0.0, waiters=PLENTY)

    pulse = _pulse(clock, view, gate, waiters, beats=beats, members=members, leases=leases, sessions=sessions)
    teller, prover = MemoryTeller(log), MemoryProver(log)
    parts = Parts(
        view=view,
        writer=Writer(log, view),
        vault=vault,
        sessions=sessions,
        gate=gate,
        marks=await bootstrap.marks(vault),
        passwords=Remembered(),
        pulse=pulse,
        world=World(view, pulse, "1.2.3", gate.uses, clock=clock.wall, need_keys=master.need),
        pages=Pages(view.topic_index, clock.monotonic),
        waiters=waiters,
        streams=None,
        clock=clock.wall,
        log=log,
        handovers=MemoryHandovers(log, leases, members),
        archive=Archive(log, teller, clock.wall),
        prover=prover,
        limits=Limits(Sizes(PLENTY, PLENTY, PLENTY, PLENTY, PLENTY)),
        bounds=Bounds(connections=PLENTY),
        trail=Trail(MemoryActs(log), MemoryRefusals(clock.wall), clock.wall),
        master=master,
        deliveries=MemoryDeliveries(lambda: log.epoch),
    )
    assert await bootstrap.first_admin(log, view, vault, parts.passwords, PASSWORD) in (PASSWORD, None)
    await view.catch_up()
    lines: list[bytes] = []
    return Rig(
        build(parts, RequestLog(lines.append, clock.wall)),
        parts,
        log,
        clock,
        lines,
        leases,
        members,
        beats,
        sessions,
        teller,
        prover,
    )
