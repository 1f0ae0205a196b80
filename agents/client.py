"""Speaks HTTP to the apis: any that answers. Says apart «no answer» (try again) and «no» (a stable code)."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import httpx2
import msgspec

from agents.journal import Identity
from heroctl.domain.assignment import (
    SecretsReply,
    SecretsRequest,
    SessionReply,
    SessionRequest,
    SyncReply,
    SyncRequest,
)
from heroctl.domain.endpoints import ServicesReply, ServicesRequest
from heroctl.domain.logs import LogsReply, LogsRequest
from heroctl.domain.sampling import SamplesReply, SamplesRequest
from heroctl.domain.spec import decode_hook

T = TypeVar("T")

CONNECT: Final = 2.0  # seconds
ANSWER: Final = 5.0  # beside what a request itself asks to wait
INDEX: Final = "X-HeroCtl-Index"
_ENCODER: Final = msgspec.json.Encoder()
_SESSION: Final = msgspec.json.Decoder(SessionReply, dec_hook=decode_hook)
_SECRETS: Final = msgspec.json.Decoder(SecretsReply)
_SYNC: Final = msgspec.json.Decoder(SyncReply, dec_hook=decode_hook)
_SERVICES: Final = msgspec.json.Decoder(ServicesReply)
_SAMPLES: Final = msgspec.json.Decoder(SamplesReply)
_LOGS: Final = msgspec.json.Decoder(LogsReply)
_IDENTITY: Final = msgspec.json.Decoder(Identity)
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, ValueError)


class Away(Exception):  # noqa: N818 - a temporary fault, not an error
    """No api answered, or the one asked cannot now."""


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """An api said no. `code` is stable; "" where the answer is not an api's."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message


class Client:
    """Requests of one agent. After each one that was not answered the next goes to the next URL."""

    def __init__(
        self, urls: Sequence[str], *, ca_cert: str = "", transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        verify = ssl.create_default_context(cafile=ca_cert) if ca_cert else True
        self._http = httpx2.AsyncClient(
            verify=verify, transport=transport, trust_env=False, timeout=httpx2.Timeout(ANSWER, connect=CONNECT)
        )
        self._urls = [url.rstrip("/") for url in urls]
        self._at = 0
        self.token = ""
        self.index = 0  # the newest index of the log that was seen

    @property
    def urls(self) -> list[str]:
        """Name the apis that are asked."""
        return self._urls

    async def close(self) -> None:
        """End."""
        await self._http.aclose()

    async def join(self, token: str, name: str) -> Identity:
        """Make this server a node."""
        return await self._post("/v1/nodes/join", {"token": token, "name": name}, _IDENTITY, ANSWER)

    async def session(self, request: SessionRequest) -> SessionReply:
        """Begin to speak for the node."""
        return await self._post("/v1/agent/session", request, _SESSION, ANSWER)

    async def sync(self, request: SyncRequest) -> SyncReply:
        """Beat, report and pull."""
        return await self._post("/v1/agent/sync", request, _SYNC, ANSWER + request.wait)

    async def services(self, request: ServicesRequest) -> ServicesReply:
        """Ask where the services are found that allocations refer to."""
        return await self._post("/v1/agent/services", request, _SERVICES, ANSWER + request.wait)

    async def samples(self, request: SamplesRequest) -> SamplesReply:
        """Tell what the node and its allocations use."""
        return await self._post("/v1/agent/samples", request, _SAMPLES, ANSWER)

    async def logs(self, request: LogsRequest) -> LogsReply:
        """Ship lines that workloads wrote."""
        return await self._post("/v1/agent/logs", request, _LOGS, ANSWER)

    async def secrets(self, request: SecretsRequest) -> SecretsReply:
        """Ask what the secrets of allocations hold, just before they are started."""
        return await self._post("/v1/agent/secrets", request, _SECRETS, ANSWER)

    async def _post(self, path: str, body: Any, decoder: msgspec.json.Decoder[T], timeout: float) -> T:  # noqa: ANN401 - any Struct
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers |= {"Authorization": f"Bearer {self.token}", INDEX: str(self.index)}
        url = self._urls[self._at % len(self._urls)]
        try:
            answer = await self._http.post(
                url + path,
                content=_ENCODER.encode(body),
                headers=headers,
                timeout=httpx2.Timeout(timeout, connect=CONNECT),
            )
        except (httpx2.TransportError, httpx2.InvalidURL, OSError) as error:
            self._at += 1
            raise Away(f"{url}: {str(error) or type(error).__name__}") from error
        if answer.status_code >= 500 or answer.status_code == 429:
            self._at += 1
            raise Away(f"{url}: {_refusal(answer)}")
        if not answer.is_success:
            raise _refusal(answer)
        seen = answer.headers.get(INDEX, "")
        self.index = int(seen) if seen.isdecimal() else self.index
        try:
            return decoder.decode(answer.content)
        except _UNREADABLE as error:
            self._at += 1
            raise Away(f"{url}: the answer cannot be read: {error}") from error


def _refusal(answer: httpx2.Response) -> Refused:
    try:
        body = msgspec.json.decode(answer.content, type=dict[str, Any])
        return Refused(answer.status_code, str(body.get("error", "")), str(body.get("message", "")))
    except _UNREADABLE:
        return Refused(answer.status_code, "", answer.reason_phrase)
