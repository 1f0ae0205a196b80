"""A control plane in miniature for one node: says what it is told to say, in every wrong way there is."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
import msgspec

from agents.clock import Clock
from heroctl.domain.assignment import (
    Assigned,
    Mark,
    Outcome,
    RedisAccess,
    Report,
    SecretsReply,
    SecretsRequest,
    SessionReply,
    SessionRequest,
    SyncReply,
    SyncRequest,
)
from heroctl.domain.endpoints import Endpoint, ServiceEndpoints, ServicesReply, ServicesRequest, referred
from heroctl.domain.lifecycle import Phase, supersedes
from heroctl.domain.logs import Line, LogsReply, LogsRequest
from heroctl.domain.sampling import SamplesReply, SamplesRequest
from heroctl.domain.spec import encode_hook

_ENCODER: Final = msgspec.json.Encoder(enc_hook=encode_hook)
_SESSION: Final = msgspec.json.Decoder(SessionRequest)
_SECRETS: Final = msgspec.json.Decoder(SecretsRequest)
_SERVICES: Final = msgspec.json.Decoder(ServicesRequest)
_SAMPLES: Final = msgspec.json.Decoder(SamplesRequest)
_LOGS: Final = msgspec.json.Decoder(LogsRequest)
_SYNC: Final = msgspec.json.Decoder(SyncRequest)

Fault = Callable[[str], httpx2.Response | None]


def refusal(status: int, code: str) -> httpx2.Response:
    return httpx2.Response(status, json={"error": code, "message": f"because of {code}"})


@dataclass
class ControlPlane:
    """Wants what `wanted` holds; keeps every request. `fault` may answer, or raise, in its place."""

    clock: Clock
    cluster: str = "test"
    every: float = 2.0
    incarnation: str = "i1"
    marks: bool = True  # whether it gives any
    beyond: int = 0  # events that are no concern of this node
    index: int = 0
    session: int = 0
    wanted: dict[str, Assigned] = field(default_factory=dict)
    seen: dict[str, Report] = field(default_factory=dict)
    history: list[Report] = field(default_factory=list)
    joined: list[dict[str, str]] = field(default_factory=list)
    sessions: list[SessionRequest] = field(default_factory=list)
    syncs: list[SyncRequest] = field(default_factory=list)
    headers: list[httpx2.Headers] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    fault: Fault = lambda _: None
    lose: int = 0  # so many answers get lost after they took effect
    redis: RedisAccess | None = None
    doorbell: str = ""
    time: Callable[[], int] = lambda: 0  # by the database's clock, in ms
    complete_only: bool = False
    release: list[str] = field(default_factory=list)  # unknown containers that may be stopped
    secrets: dict[str, dict[str, bytes]] = field(default_factory=dict)  # by allocation
    withheld: dict[str, str] = field(default_factory=dict)  # by allocation: why it gets none
    asked_for: list[list[str]] = field(default_factory=list)  # the allocations of each question for secrets
    services: dict[str, list[Endpoint]] = field(default_factory=dict)  # by namespace and name
    services_asked: int = 0
    samples: list[SamplesRequest] = field(default_factory=list)
    samples_status: int = 200
    scraped_status: int = 200
    logs: list[LogsRequest] = field(default_factory=list)
    logs_status: int = 200
    again: float = 5.0  # seconds to the next sample, less each node's own offset
    news: asyncio.Event = field(default_factory=asyncio.Event)
    _numbers: dict[int, int] = field(default_factory=dict)

    @property
    def mark(self) -> Mark | None:
        """Where its log stands."""
        place = f"{self.incarnation} {self.index + self.beyond}"
        return Mark(1000 + self.index + self.beyond, place.encode()) if self.marks else None

    def want(self, *assigned: Assigned) -> None:
        """Name allocations, as changed now."""
        for one in assigned:
            self.index += 1
            self.wanted[one.id] = msgspec.structs.replace(one, index=self.index)
        self.news.set()

    def drop(self, alloc: str) -> None:
        """Stop naming one."""
        self.index += 1
        del self.wanted[alloc]
        self.news.set()

    def restore(self, incarnation: str, index: int, *assigned: Assigned) -> None:
        """Become another history."""
        self.incarnation, self.index, self.wanted, self.seen = incarnation, index, {}, {}
        self.want(*assigned)

    def phase(self, alloc: str) -> tuple[int, Phase] | None:
        """Return the newest that was heard of an allocation."""
        report = self.seen.get(alloc)
        return (report.attempt, report.phase) if report else None

    def is_phase(self, alloc: str, phase: Phase) -> Callable[[], bool]:
        return lambda: (self.seen[alloc].phase if alloc in self.seen else "") == phase

    @property
    def transport(self) -> httpx2.MockTransport:
        return httpx2.MockTransport(self.answer)

    async def answer(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/v1/agent/samples":  # beside everything else, and of no account to it
            self.samples.append(_SAMPLES.decode(request.content))
            status = self.scraped_status if self.samples[-1].scraped else self.samples_status
            return httpx2.Response(status, content=_ENCODER.encode(SamplesReply(self.again)))
        if request.url.path == "/v1/agent/logs":
            return self._take_logs(_LOGS.decode(request.content))
        self.headers.append(request.headers)
        self.hosts.append(request.url.host)
        path = request.url.path.rpartition("/")[2]
        answer = self.fault(path)
        if answer is not None:
            return answer
        handlers: dict[str, Callable[[bytes], Awaitable[Any]]] = {
            "join": self._join,
            "session": self._open,
            "sync": self._sync,
            "secrets": self._secrets,
            "services": self._services,
        }
        body = await handlers[path](request.content)
        if self.lose and path == "sync":
            self.lose -= 1
            raise httpx2.ReadError("the answer was lost")
        return httpx2.Response(200, content=_ENCODER.encode(body), headers={"X-HeroCtl-Index": str(1000 + self.index)})

    def _take_logs(self, request: LogsRequest) -> httpx2.Response:
        if self.logs_status != 200:
            return refusal(self.logs_status, "unavailable")
        self.logs.append(request)
        ids = [f"{len(self.logs)}-{number}" for number in range(len(request.shipments))]
        return httpx2.Response(200, content=_ENCODER.encode(LogsReply(ids)))

    def lines(self, alloc: str) -> list[Line]:
        """Return the lines of an allocation that were shipped."""
        shipped = (each for request in self.logs for each in request.shipments if each.alloc == alloc)
        return [line for each in shipped if each.batch is not None for line in each.batch.lines]

    async def _services(self, content: bytes) -> ServicesReply:
        self.services_asked += 1
        request = _SERVICES.decode(content)
        for _ in range(round(request.wait * 4)):
            if self._told().digest != request.known:
                break
            await self.clock.sleep(0.25)
        return self._told()

    def _told(self) -> ServicesReply:
        keys = sorted({f"{one.namespace}/{name}" for one in self.wanted.values() for name in referred(one.spec)})
        found = [
            ServiceEndpoints(key.partition("/")[0], key.partition("/")[2], tuple(self.services.get(key, ())))
            for key in keys
        ]
        return ServicesReply(repr(found), found)

    async def _join(self, content: bytes) -> dict[str, str]:
        self.joined.append(msgspec.json.decode(content))
        return {"id": "n1", "name": self.joined[-1]["name"], "token": "hn_secret", "cluster": self.cluster}

    async def _open(self, content: bytes) -> SessionReply:
        request = _SESSION.decode(content)
        self.sessions.append(request)
        self.session += 10
        for report in request.inventory.reports:
            self._report(report)
        return SessionReply(
            cluster=self.cluster,
            node="n1",
            name="alpha",
            session=self.session,
            incarnation=self.incarnation,
            index=self.index,
            every=self.every,
            redis=self.redis,
        )

    async def _sync(self, content: bytes) -> SyncReply:
        request = _SYNC.decode(content)
        self.syncs.append(request)
        repeated = request.seq <= self._numbers.get(request.session, 0)
        results: list[Outcome] = ["ok" if repeated else self._report(report) for report in request.reports]
        self._numbers[request.session] = max(request.seq, self._numbers.get(request.session, 0))
        same = request.incarnation == self.incarnation and request.index > 0 and not self.complete_only
        if request.wait and same and request.index >= self.index:
            self.news.clear()
            await self.clock.wait(self.news, request.wait)
        changed = [one for one in self.wanted.values() if one.index > request.index]
        return SyncReply(
            incarnation=self.incarnation,
            index=self.index,
            state_index=1000 + self.index,
            every=self.every,
            changed=changed if same else [],
            complete=None if same else list(self.wanted.values()),
            results=results,
            release=self.release,
            mark=self.mark,
            doorbell=self.doorbell if request.doorbell else "",
            redis=self.redis if request.need_redis else None,
            time=self.time(),
        )

    async def _secrets(self, content: bytes) -> SecretsReply:
        request = _SECRETS.decode(content)
        assert request.session == self.session
        self.asked_for.append(request.allocs)
        given = {alloc: self.secrets[alloc] for alloc in request.allocs if alloc in self.secrets}
        values = {
            alloc: {name: base64.b64encode(value).decode() for name, value in held.items()}
            for alloc, held in given.items()
        }
        refused = {alloc: self.withheld.get(alloc, "unknown") for alloc in request.allocs if alloc not in given}
        return SecretsReply(values, refused)

    def _report(self, report: Report) -> Outcome:
        known = self.seen.get(report.alloc)
        if report.alloc not in self.wanted and known is None:
            return "unknown"
        if known is not None and not supersedes(report.attempt, report.phase, known.attempt, known.phase):
            return "old"
        self.seen[report.alloc] = report
        self.history.append(report)
        return "ok"
