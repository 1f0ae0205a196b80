"""The HTTP server: granian on this process's own event loop, so that signals, draining and the end are ours."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path
from typing import Final

import structlog
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings, HTTP2Settings
from granian.server.embed import Server as Granian

from api.front import Front
from api.settings import Address, Settings

_PINGS: Final = 30_000  # ms between pings on HTTP/2: a peer that does not answer is gone
_BACKLOG: Final = 8192
_LOOK: Final = 5.0  # seconds between looks at the certificate
_log: Final = structlog.get_logger(__name__)


class Server:
    """Serves the front until it is told to stop. A certificate that changes is used for new connections at once."""

    def __init__(self, settings: Settings, front: Front) -> None:
        self._files = [Path(name) for name in (settings.tls_cert, settings.tls_key) if name]
        self._granian = Granian(
            front,
            address=settings.address.host,
            port=settings.address.port,
            interface=Interfaces.ASGINL,
            http=HTTPModes.auto if settings.tls else HTTPModes.http1,
            websockets=True,
            backlog=_BACKLOG,
            backpressure=settings.waiters,  # it counts connections; one more is not accepted until another ends
            http1_settings=HTTP1Settings(
                header_read_timeout=int(settings.head_timeout * 1000),  # and for an idle connection's next request
                max_buffer_size=_room(settings),
            ),
            http2_settings=HTTP2Settings(max_headers_size=_room(settings), keep_alive_interval=_PINGS),
            log_enabled=False,
            ssl_cert=self._files[0] if self._files else None,
            ssl_key=self._files[1] if self._files else None,
        )

    async def run(self) -> None:
        """Serve. Returns after `stop`."""
        watching = asyncio.create_task(self._watch())
        try:
            await self._granian.serve()
        finally:
            watching.cancel()

    def stop(self) -> None:
        """Close all connections and return from `run`."""
        self._granian.stop()  # type: ignore[no-untyped-call] # the library's

    async def _watch(self) -> None:
        seen = self._stamps()
        while self._files:
            await asyncio.sleep(_LOOK)
            now = self._stamps()
            if now not in (seen, []) and self._usable():
                seen = now
                self._granian.reload()  # type: ignore[no-untyped-call] # the library's
                _log.info("certificate_changed", file=str(self._files[0]))

    def _stamps(self) -> list[tuple[int, int]]:
        with contextlib.suppress(OSError):
            return [(stat.st_mtime_ns, stat.st_ino) for stat in map(Path.stat, self._files)]
        return []

    def _usable(self) -> bool:
        """Tell whether certificate and key fit together: one may have been written, and the other not yet."""
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*map(str, self._files))
        except (ssl.SSLError, OSError) as error:
            _log.warning("certificate_unusable", error=str(error))
            return False
        return True


def _room(settings: Settings) -> int:
    """Say how much of a head is read: twice what is taken, so that most who send too much are told why."""
    return 2 * (settings.head_limit.bytes + settings.url_limit.bytes)


def claim(address: Address) -> None:
    """Raise OSError where an address is another's: granian would share it with any number of processes, unnoticed."""
    family, kind, _, _, place = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(place)
