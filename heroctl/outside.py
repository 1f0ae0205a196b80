"""HTTP to hosts that others name: only to addresses that may be spoken to, and to no other than was looked at.

A name is looked up once for each request; each of its addresses must pass, and the connection goes to one of those,
with the name in the certificate and in `Host`. No proxy, no redirect by itself, no connection kept for the next.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import httpx2
import structlog
from msgspec import Struct

from heroctl.domain.addresses import Network, may_reach

CONNECT: Final = 1.0  # seconds for each address
ANSWER: Final = 3.0  # seconds between two signs of life
_LAST_PORT: Final = 65_535
_MOST_ADDRESSES: Final = 3  # of a name that are tried
_MOST_LOOKUPS: Final = 8  # names looked up at a time: a resolver that hangs holds a thread for each
_log: Final = structlog.get_logger(__name__)

Lookup = Callable[[str, int], Awaitable[list[str]]]


class Unanswered(Exception):  # noqa: N818 - a temporary fault
    """There is no answer, and why, in words that follow the host's name. `slow`: it was waited for."""

    def __init__(self, message: str, *, slow: bool = False) -> None:
        super().__init__(message)
        self.slow = slow


class Barred(Unanswered):
    """It has an address that may not be spoken to."""


class Response(Struct, frozen=True):
    """What came back; names of headers in lower case. `body`: not more of it than was asked for."""

    status: int
    headers: dict[str, str]
    body: bytes


class Outside:
    """Asks hosts. `listed`: networks that may be spoken to though they are not public.

    `patience`: seconds between two signs of life of an answer; `connect`: seconds for each address; `linger`: seconds
    for a body, where what has not come by then is left out, whatever becomes of it.
    """

    def __init__(
        self,
        listed: Sequence[Network] = (),
        lookup: Lookup | None = None,
        *,
        patience: float = ANSWER,
        connect: float = CONNECT,
        linger: float | None = None,
    ) -> None:
        self._listed = tuple(listed)
        self._lookup = lookup or Names().find
        self._timeout = httpx2.Timeout(patience, connect=connect).as_dict()
        self._linger = linger
        self._http: httpx2.AsyncHTTPTransport | None = None
        self._making = asyncio.Lock()

    async def look(self, url: httpx2.URL) -> None:
        """Look whether a host may be spoken to, and speak to nobody. Raises Barred; and Unanswered: it is not known."""
        await self._checked(url.host, _port(url))

    async def ask(
        self, method: str, url: httpx2.URL, headers: Mapping[str, str], most: int = 0, *, content: bytes = b""
    ) -> Response:
        """Send one request and read at most `most` bytes of the answer. Raises Unanswered."""
        last: Exception | None = None
        for address in await self._checked(url.host, _port(url)):
            request = self._request(method, url, address, headers, content)
            try:
                return await self._once(request, most)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                last = error
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
                raise _unanswered(error) from error
        raise _unanswered(last) from last

    async def close(self) -> None:
        """End."""
        if self._http is not None:
            await self._http.aclose()

    async def _checked(self, host: str, port: int) -> list[str]:
        """Find a host's addresses. One that may not be spoken to spoils all of them: who named it means no good."""
        try:
            addresses = [str(ipaddress.ip_address(host))]
        except ValueError:
            addresses = await self._lookup(host, port)
        refused = [address for address in addresses if not may_reach(address, self._listed)]
        if refused:
            _log.warning("address_refused", host=host, addresses=refused)
            raise Barred("has an address that is neither public nor in a listed network")
        return addresses[:_MOST_ADDRESSES]

    def _request(
        self, method: str, url: httpx2.URL, address: str, headers: Mapping[str, str], content: bytes
    ) -> httpx2.Request:
        return httpx2.Request(
            method,
            url.copy_with(host=address),
            headers={**headers, "Host": url.netloc.decode("ascii"), "Accept-Encoding": "identity"},
            content=content or None,
            extensions={"sni_hostname": url.host, "timeout": self._timeout},
        )

    async def _once(self, request: httpx2.Request, most: int) -> Response:
        answer = await (await self._transport()).handle_async_request(request)
        body = bytearray()
        try:
            async with asyncio.timeout(self._linger):
                async for part in answer.aiter_raw():
                    body += part
                    if len(body) >= most:
                        break
        except (httpx2.HTTPError, TimeoutError):
            if self._linger is None:
                raise
        finally:
            await answer.aclose()
        return Response(answer.status_code, dict(answer.headers), bytes(body[:most]))

    async def _transport(self) -> httpx2.AsyncHTTPTransport:
        """Make it when it is needed, and beside the loop: reading the machine's certificates takes a while."""
        async with self._making:
            if self._http is None:
                self._http = httpx2.AsyncHTTPTransport(
                    verify=await asyncio.to_thread(ssl.create_default_context),
                    trust_env=False,
                    limits=httpx2.Limits(max_keepalive_connections=0),  # one host's must never serve another's request
                )
            return self._http


class Names:
    """Looks names up, each once however many ask for it at a time.

    In threads that nobody waits for: a resolver that hangs holds up neither others' work nor the end of the process.
    `most`: threads at a time.
    """

    def __init__(self, most: int = _MOST_LOOKUPS) -> None:
        self._most = most
        self._asked: dict[tuple[str, int], asyncio.Future[list[str]]] = {}

    async def find(self, host: str, port: int) -> list[str]:
        """Find the addresses of a host. Raises Unanswered."""
        place = (host, port)
        found = self._asked.get(place)
        if found is None:
            if len(self._asked) >= self._most:
                raise Unanswered("cannot be looked up: other names take too long", slow=True)
            found = asyncio.get_running_loop().create_future()
            try:
                threading.Thread(target=_look_up, args=(host, port, found), name="lookup", daemon=True).start()
            except RuntimeError as error:  # the machine has no thread to spare: nobody would ever answer
                raise Unanswered("cannot be looked up now") from error
            self._asked[place] = found
            found.add_done_callback(lambda _: self._asked.pop(place, None))
        addresses = await asyncio.shield(found)
        if not addresses:
            raise Unanswered("has no address")
        return addresses


def _look_up(host: str, port: int, found: asyncio.Future[list[str]]) -> None:
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(answer[4][0]) for answer in answers))
    except (OSError, UnicodeError):
        addresses = []

    def tell() -> None:
        if not found.done():
            found.set_result(addresses)

    try:
        found.get_loop().call_soon_threadsafe(tell)
    except RuntimeError:
        return  # the loop has ended, and with it who asked


def _port(url: httpx2.URL) -> int:
    port = url.port or {"http": 80, "https": 443}.get(url.scheme)
    if port is None or port > _LAST_PORT or not url.host:
        raise Unanswered("is named by an address that cannot be asked")
    return port


def _unanswered(error: Exception | None) -> Unanswered:
    if isinstance(error, httpx2.TimeoutException):
        return Unanswered("does not answer in time", slow=True)
    return Unanswered(f"does not answer: {str(error) or type(error).__name__}")
