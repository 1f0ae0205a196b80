"""The one place of the command line that speaks HTTP: one connection pool, one way to ask, to wait and to be refused.

Every request carries the highest `X-HeroCtl-Index` that this run has seen, so that a read never falls behind a write,
whichever api process answers it.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import quote

import httpx2
import msgspec

from heroctl.cli.faults import Caller, Fault, Refused, Unreachable, refused, stranger, unreachable

T = TypeVar("T")

INDEX: Final = "X-HeroCtl-Index"
KEY: Final = "Idempotency-Key"
WAIT_S: Final = 300
_TIMEOUT_S: Final = 30.0
_CONNECT_S: Final = 10.0
_PATIENCE_S: Final = 60.0  # how long in all a command waits when it is asked to come back later
_PAUSE_S: Final = 1.0

Query = Mapping[str, str | int | None]
Renew = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the body as it was sent, and the index it stands for (0: none was told).

    `at`: of the past, its time; `date`: the server's clock, as HTTP spells it; `cursor`: of the next page, if any.
    """

    status: int
    raw: bytes
    index: int
    at: str = ""
    date: str = ""
    cursor: str = ""


def path(*parts: str) -> str:
    """Build a path under /v1 from words of which none may leave its place."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


class Client:
    """Asks one API as one caller. Threads may share it.

    `renew` is given the token that was refused and returns a fresh one, or None; `say` hears why it takes longer.
    """

    def __init__(
        self,
        caller: Caller,
        token: str = "",
        *,
        ca_cert: str | None = None,
        renew: Renew | None = None,
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.caller = caller
        self.seen = 0
        self._token = token
        self._ca_cert = ca_cert
        self._renew = renew
        self._say = say
        self._lock = threading.Lock()
        self._told_stale = False
        self._http = httpx2.Client(
            base_url=caller.address,
            verify=trust(ca_cert) if caller.address.startswith("https://") else False,
            timeout=httpx2.Timeout(_TIMEOUT_S, connect=_CONNECT_S),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=8),
            headers={"Accept": "application/json", "User-Agent": "heroctl"},
        )

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()

    def sibling(self) -> Client:
        """Make another one for the same caller, with connections of its own."""
        made = Client(self.caller, self._token, ca_cert=self._ca_cert, renew=self._renew, say=self._say)
        made.seen = self.seen
        return made

    def get(self, where: str, query: Query | None = None) -> Answer:
        """Read something now."""
        return self.ask("GET", where, query=query)

    def poll(self, where: str, query: Query | None = None, *, index: int, wait: int = WAIT_S) -> Answer:
        """Read something once its index has passed `index`, or after `wait` seconds as it is."""
        held = {**(query or {}), "index": index, "wait": f"{wait}s"}
        return self.ask("GET", where, query=held, timeout=wait + _TIMEOUT_S)

    def ask(
        self,
        method: str,
        where: str,
        *,
        query: Query | None = None,
        json: object = None,
        content: bytes | None = None,
        content_type: str = "application/json",
        key: str | None = None,
        timeout: float = _TIMEOUT_S,
        patience: float = _PATIENCE_S,
    ) -> Answer:
        """Ask, and ask again where that is safe and the API says so; `Refused` and `Unreachable` tell why not.

        `patience` is for how many seconds in all it waits when it is asked to come back later. `key`: under which a
        write is done once, over several runs of the command too.
        """
        body = msgspec.json.encode(json) if json is not None else content
        headers = {"Content-Type": content_type} if body is not None else {}
        if method == "POST":
            headers[KEY] = key or os.urandom(16).hex()  # the same in every attempt
        request = self._http.build_request(
            method,
            where,
            params={key: value for key, value in (query or {}).items() if value is not None},
            content=body,
            headers=headers,
            timeout=httpx2.Timeout(timeout, connect=_CONNECT_S),
        )
        while True:
            try:
                return self._once(request)
            except Refused as fault:
                # 429 is said before anything is done. After 503 it may have been done all the same: the key tells.
                pause = fault.retry_after or _PAUSE_S
                if fault.status not in (429, 503) or pause > patience:
                    raise
                patience -= pause
                self._say(f"{fault.message}; trying again in {pause:.0f} s")
                time.sleep(pause)

    def lines(self, where: str, *, silence: float, headers: Mapping[str, str] | None = None) -> Iterator[bytes]:
        """Read an answer line by line while it is made; `Unreachable` after so many seconds without one."""
        timeout = httpx2.Timeout(silence, connect=_CONNECT_S)
        try:
            for last in (self._renew is None, True):
                own = {"Authorization": f"Bearer {self._token}"} if self._token else {}
                with self._http.stream("GET", where, headers={**own, **(headers or {})}, timeout=timeout) as response:
                    if response.status_code == 401 and not last and self.renewed():
                        continue
                    if response.status_code != 200:
                        response.read()
                        self._read(response)
                    for line in response.iter_lines():
                        yield line.encode()
                    return
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise unreachable(error, self.caller) from error

    def socket(self, where: str) -> tuple[str, dict[str, str], ssl.SSLContext | None]:
        """Say how a WebSocket is opened: its URL, its headers, and whom to trust."""
        scheme, _, rest = self.caller.address.partition("://")
        guarded = scheme == "https"
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        return f"{'wss' if guarded else 'ws'}://{rest}{where}", headers, trust(self._ca_cert) if guarded else None

    def renewed(self) -> bool:
        """Get a fresh token for one that was refused, where there is one to get."""
        fresh = self._renew(self._token) if self._renew is not None else None
        self._token = fresh or self._token
        return bool(fresh)

    def _once(self, request: httpx2.Request) -> Answer:
        token = self._token
        response = self._send(request, token)
        if response.status_code == 401 and self._renew is not None:
            with self._lock:
                fresh = self._token if self._token != token else self._renew(token)
                self._token = fresh or token
            if fresh:
                response = self._send(request, fresh)
        return self._read(response)

    def _send(self, request: httpx2.Request, token: str) -> httpx2.Response:
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        if self.seen:
            request.headers[INDEX] = str(self.seen)
        try:
            return self._http.send(request)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise unreachable(error, self.caller) from error

    def _read(self, response: httpx2.Response) -> Answer:
        status, raw = response.status_code, response.content
        if status >= 400:
            raise refused(status, raw, self.caller, retry_after=_seconds(response.headers.get("Retry-After")))
        if status >= 300 or not response.headers.get("Content-Type", "").startswith("application/json"):
            seen = response.headers.get("Location", "") if status < 400 else ""
            raise stranger(status, response.headers.get("Content-Type", ""), self.caller, location=seen)
        if (stale := response.headers.get("X-HeroCtl-Stale")) and not self._told_stale:
            self._told_stale = True
            self._say(f"this may be old: the API has been out of touch with its log for {stale} s")
        index = _index(response.headers.get(INDEX))
        self.seen = max(self.seen, index)
        said = [response.headers.get(name, "") for name in ("X-HeroCtl-At", "Date", "X-HeroCtl-Next-Cursor")]
        return Answer(status, raw, index, *said)


def decode(answer: Answer, kind: type[T], caller: Caller) -> T:
    """Read a body as this shape; what does not fit comes from something else than our API."""
    try:
        return msgspec.json.decode(answer.raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        hint = f"it is too old or too new for this command line, or no HeroCtl API ({error})"
        raise Unreachable(f"the answer of {caller.address} cannot be read", hints=[hint]) from error


def trust(ca_cert: str | None) -> ssl.SSLContext:
    """Say which certificates are believed: the usual authorities', or those of this file."""
    if ca_cert is None:
        return httpx2.create_ssl_context()
    try:
        return ssl.create_default_context(cafile=ca_cert)
    except (OSError, ssl.SSLError) as error:
        raise Fault(f"{ca_cert} is no PEM file of certificates: {error}", hints=["check --ca-cert"]) from error


def _seconds(text: str | None) -> float:
    try:
        return max(0.0, float(text or 0))
    except ValueError:
        return 0.0


def _index(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 20 else 0
