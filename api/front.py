"""The front: the ASGI application. It answers what is ready, lets through who may, and says in one way what is wrong.

Every request, in this order: its id · a page that is ready (a plain GET whose topic has not moved), for a token that is
known and may · else the route, the token, the access, all before a byte of the body is read · else the router. A page
is ready because the router made it; the front knows no other answers, and checks token, end and access each time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from litestar import Litestar, Request
from litestar.exceptions import HTTPException
from litestar.utils import normalize_path

from api import access, encoding, request_id, traced, trail
from api.access import NOBODY, Principal
from api.answer import COMPRESSED_FROM, INDEX, Answer, Header, Message, Receive, Send, empty
from api.body import TooSlow
from api.bounds import Crowd
from api.errors import MethodNotAllowed, missing_route
from api.exchange import Exchange
from api.limits import Limited, key_of, tier
from api.parts import Parts
from api.proxies import client_of
from api.requestlog import NOTHING, RequestLog, Subject
from api.routes import ROUTES
from api.row import Row
from api.socket import Socket
from eventstore.internals import INTERNALS
from eventstore.refusals import Refused
from eventstore.view import STALE_AFTER
from heroctl.domain.errors import Forbidden, Invalid, TooMany, Unauthenticated, Unavailable
from heroctl.domain.policy import Scope

GIVE_UP: Final = 600.0  # seconds without the log after which what is known is too old to be told
_MOST_PATHS: Final = 4096
_ROOT: Final = "/v1/"
_HEALTH: Final = "/v1/health/"
_NOT_IN_FRONT: Final = frozenset({b"if-none-match", b"x-heroctl-token", b"origin"})
_NO_BODY: Final[Message] = {"type": "http.response.body", "body": b""}
_HSTS: Final[Header] = (b"strict-transport-security", b"max-age=31536000")
_LOGIN: Final = "/v1/auth/login"
_TOLD: Final = frozenset({Unauthenticated.status, Forbidden.status, TooMany.status})  # to the audit


def page_key(path: str, filters: tuple[tuple[str, str], ...], scope: Scope) -> object:
    """Name a page: what is asked, and how far whoever asks may see. Nobody else gets it."""
    return path, filters, scope


Meet = Callable[[Socket, Any, Exchange], Awaitable[None]]
Make = Callable[[Request[Any, Any, Any], Exchange], Awaitable[Answer]]


class Front:
    """Stands before the router. `ready` says which paths it may answer itself; who `makes` the rows' answers fills it.

    `open` counts the requests that are being answered.
    """

    def __init__(self, router: Litestar, parts: Parts, log: RequestLog) -> None:
        self.open = 0
        self._quiet = asyncio.Event()
        self.ready: dict[str, tuple[Row, Subject]] = {}
        self.makes: dict[Row, Make] = {}
        self.meets: dict[Row, Meet] = {}
        self._router = router
        self._parts = parts
        self._log = log
        self._gate = parts.gate
        self._pages = parts.pages
        self._view = parts.view
        self._limits = parts.limits
        self._crowd = Crowd(parts.bounds.connections)
        self._cors = parts.cors
        self._always: tuple[Header, ...] = (_HSTS,) if parts.secure else ()

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401 - ASGI
        """Serve one request."""
        began, asked = time.perf_counter(), traced.asked()
        exchange = Exchange(request_id.of(scope["headers"]), client_of(scope, self._parts.trusted))
        method = scope.setdefault("method", "SOCKET")
        page = self._page(scope, exchange) if method == "GET" and not scope["query_string"] else None
        counted = self._limits.at_hand(exchange.principal.actor) if page is not None else None
        if page is not None and counted is not None:
            exchange.status = 200
            limits = counted.headers(self._limits.clock())
            await send(page.start((request_id.HEADER, exchange.request_id), *self._always, *limits))
            await send(page.end)
        else:
            scope = _spelled(scope)
            self.open += 1
            try:
                with self._crowd.one_more(exchange.client):
                    if scope["type"] == "websocket":
                        await self._meet({**scope, "method": "GET"}, Socket(receive, send), exchange)
                    else:
                        await self._serve(self._as_get(scope, exchange), receive, send, exchange)
            finally:
                self.open -= 1
                if not self.open:
                    self._quiet.set()
            if exchange.status in _TOLD:
                self._tell(scope, exchange)
        seconds, row = time.perf_counter() - began, exchange.row
        INTERNALS.request(scope["method"], row.path if row is not None else "", exchange.status, seconds)
        self._log.add(
            exchange.request_id,
            scope["method"],
            scope["path"],
            exchange.status,
            ms=round(seconds * 1000, 3),
            actor=exchange.principal.actor,
            client=exchange.client,
            about=exchange.about,
            trace=_traced(asked, scope, exchange) if asked is not None and asked.made else "",
        )

    def _tell(self, scope: Any, exchange: Exchange) -> None:  # noqa: ANN401 - ASGI
        """Let the audit know who was refused what; of those who are too fast, only who logs in too fast."""
        refusal, row, who = exchange.refusal, exchange.row, exchange.principal
        if refusal is None or (refusal.status == TooMany.status and (row is None or row.path != _LOGIN)):
            return
        path, words = scope["path"], row.placeholders(scope["path"]) if row else {}
        namespace, job = trail.subject(words, path, scope["query_string"])
        self._parts.trail.note(
            Refused(
                actor=who.actor,
                address=exchange.client,
                request_id=exchange.request_id.decode(),
                method=trail.cleaned(scope["method"]),
                route=row.path if row else "",
                path=trail.cleaned(path),
                status=refusal.status,
                code=refusal.code,
                tried=trail.cleaned(refusal.tried) if isinstance(refusal, Unauthenticated) else "",
                namespace=namespace,
                job=job,
                known=who is not NOBODY,
            )
        )

    async def quiet(self) -> None:
        """Wait until nothing is being answered."""
        while self.open:
            self._quiet.clear()
            await self._quiet.wait()

    def keep(self, path: str, row: Row, about: Subject = NOTHING) -> None:
        """Learn that a plain GET of a path is answered by this row's pages, while those are good."""
        if len(self.ready) >= _MOST_PATHS:
            self.ready.clear()
        self.ready[path] = row, about

    # ── ready pages ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _page(self, scope: Any, exchange: Exchange) -> Answer | None:  # noqa: ANN401 - ASGI
        row, exchange.about = self.ready.get(scope["path"], (None, NOTHING))
        if row is None or self._view.stale_seconds > STALE_AFTER or self._parts.waiters.draining:
            return None
        if not self._parts.bounds.takes(scope):
            return None  # the refusal is made where all others are
        said = self._said(scope["headers"])
        if said is None:
            return None
        token, packed = said
        principal = self._gate.known(token) if token else None
        if principal is None or not access.allows(row.access, principal):
            return None
        page = self._pages.find(page_key(scope["path"], (), principal.scope(row.access.right)))
        if page is None:
            return None
        answer = page.answer
        if packed and len(answer.body) >= COMPRESSED_FROM:
            if answer.packed is None:
                return None  # for once: that is not done in passing
            answer = answer.packed
        exchange.principal, exchange.row = principal, row
        return answer

    def _said(self, headers: list[Header]) -> tuple[bytes | None, bool] | None:
        """Find the token, and whether the answer may be compressed; None: there is more to it than that."""
        token, packed = None, False
        for name, value in headers:
            if name == b"accept-encoding":
                packed = encoding.accepts(value)
            elif name == b"authorization":
                if token is not None:
                    return None
                token = value[7:].strip() if value[:7].lower() == b"bearer " else b""
            elif name == INDEX:
                if not value.isdigit() or len(value) > 18 or int(value) > self._view.index:
                    return None
            elif name in _NOT_IN_FRONT:
                return None
        return token, packed

    # ── everything else ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _serve(self, scope: Any, receive: Receive, send: Send, exchange: Exchange) -> None:  # noqa: ANN401 - ASGI
        try:
            await self._admit(scope, exchange)
            if exchange.answer is None:
                scope.setdefault("state", {}).update(exchange=exchange, makes=self.makes)
                await self._router(scope, receive, self._stamped(send, exchange, scope))
                self._not_for_ever(exchange.row)  # it may have waited long
        except Exception as error:  # whatever it is becomes an answer; bugs are logged in full there
            if exchange.status:
                raise
            if isinstance(error, Limited):
                exchange.counted = error.counted
            exchange.fail(error)
        made = exchange.answer
        if made is not None:
            exchange.status = made.status
            if made.status == 200 and scope["method"] == "GET" and encoding.asked(scope["headers"]):
                made = await encoding.packed(made)
            await send(made.start(*self._stamps(exchange, made.status, scope)))
            await (send(_NO_BODY) if exchange.head else made.finish(send))

    async def _meet(self, scope: Any, socket: Socket, exchange: Exchange) -> None:  # noqa: ANN401 - ASGI
        """Serve a WebSocket. Who is refused before it is opened gets the answer that a plain request would get."""
        try:
            await self._admit(scope, exchange)
            _no_page(scope)
            if exchange.row not in self.meets:
                raise Invalid("invalid_request", "this route speaks over no WebSocket")  # noqa: TRY301 - answered below
            exchange.status = 101
            await self.meets[exchange.row](socket, scope, exchange)
        except Exception as error:  # noqa: BLE001 - as in _serve
            exchange.fail(error)
            if exchange.answer is not None and not socket.accepted:
                exchange.status = exchange.answer.status
                await socket.refuse(exchange.answer, self._stamps(exchange, exchange.status, scope))

    async def _admit(self, scope: Any, exchange: Exchange) -> None:  # noqa: ANN401 - ASGI
        """Find the row and who asks, count the request, and refuse who may not."""
        self._parts.bounds.judge(scope)
        row = exchange.row = self._row(scope["method"], scope["path"])
        principal = await self._counted(scope, exchange)
        if scope["method"] == "OPTIONS" and (allowed := _allowed(scope["path"])):
            exchange.answer = empty(204, (b"allow", allowed.encode()))
            return
        if row is None or row.access.kind != "public":
            if row is None and (principal is not None or not scope["path"].startswith(_ROOT)):
                raise self._no_route(scope["method"], scope["path"])
            exchange.principal = principal or NOBODY
            access.check(row.access if row else access.ANYONE, principal)
        await self._abreast(scope["headers"], row)

    async def _counted(self, scope: Any, exchange: Exchange) -> Principal | None:  # noqa: ANN401 - ASGI
        """Find who asks, and count the request: against a token that is good, else against the address."""
        row, client = exchange.row, exchange.client
        if row is not None and row.path.startswith(_HEALTH):
            return None
        principal = None
        if row is None or row.access.kind != "public":
            try:
                principal = await self._principal(scope)
            except Unauthenticated:
                self._crowd.check(client)
                exchange.counted = await self._limits.admit(key_of(client), "address")
                raise
        if principal is None or not principal.node:
            self._crowd.check(client)
        key, kind = (key_of(client), "address") if principal is None else (principal.actor, tier(principal))
        exchange.counted = await self._limits.admit(key, kind)
        return principal

    async def _principal(self, scope: Any) -> Principal | None:  # noqa: ANN401 - ASGI
        if not scope["path"].startswith(_ROOT):
            return None
        return await self._gate.principal(scope["headers"])

    def _as_get(self, scope: Any, exchange: Exchange) -> Any:  # noqa: ANN401 - ASGI
        """Serve a HEAD as the GET of the same path, if there is one, without its body."""
        exchange.head = scope["method"] == "HEAD"
        if not exchange.head or self._row("GET", scope["path"]) is None:
            return scope
        return {**scope, "method": "GET"}

    def _row(self, method: str, path: str) -> Row | None:
        """Ask the router which row serves a request; None: none does."""
        try:
            handler = self._router.asgi_router.handle_routing(path=path, method=method)[1]
        except HTTPException:
            return None
        row: Row | None = handler.opt.get("row")
        return row

    def _no_route(self, method: str, path: str) -> Exception:
        allowed = _allowed(path)
        return MethodNotAllowed(method, allowed) if allowed else missing_route()

    async def _abreast(self, headers: list[tuple[bytes, bytes]], row: Row | None) -> None:
        if row is None or row.path.startswith("/v1/health/"):
            return
        self._not_for_ever(row)
        for name, value in headers:
            if name == INDEX:
                if not value.isdigit() or len(value) > 18:
                    raise Invalid("invalid_index", "X-HeroCtl-Index: expected a whole number")
                await self._parts.abreast(int(value))

    def _not_for_ever(self, row: Row | None) -> None:
        if self._view.stale_seconds > GIVE_UP and row is not None and not row.path.startswith(_HEALTH):
            raise Unavailable("log_unavailable", "the log has been away for too long: try again", retry_after=5)

    def _stamped(self, send: Send, exchange: Exchange, scope: Any) -> Send:  # noqa: ANN401 - ASGI
        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message = {**message, "headers": [*message["headers"], *self._stamps(exchange, exchange.status, scope)]}
            await send(message)

        return stamped

    def _stamps(self, exchange: Exchange, status: int, scope: Any) -> list[tuple[bytes, bytes]]:  # noqa: ANN401 - ASGI
        stamps: list[Header] = [(request_id.HEADER, exchange.request_id), *self._always]
        if self._cors:
            stamps.extend(self._cors.headers(scope["headers"], _allowed(scope["path"]) if status == 204 else ""))
        if exchange.counted is not None:
            stamps.extend(exchange.counted.headers(self._limits.clock()))
        if exchange.index and status >= 400:
            stamps.append((INDEX, b"%d" % exchange.index))
        stale = self._view.stale_seconds
        if stale > STALE_AFTER and exchange.row is not None and exchange.row.read is not None:
            stamps.append((b"x-heroctl-stale", b"%d" % stale))
        if (self._parts.waiters.draining or status == TooSlow.status) and scope["http_version"].startswith("1"):
            stamps.append((b"connection", b"close"))
        return stamps


def _traced(asked: traced.Asked, scope: Any, exchange: Exchange) -> str:  # noqa: ANN401 - ASGI
    """Tell the trace of what a request caused, and name it."""
    return traced.answered(
        asked,
        scope["headers"],
        {
            "http.request.method": scope["method"],
            "http.route": exchange.row.path if exchange.row is not None else "",
            "http.response.status_code": exchange.status,
            "url.path": scope["path"],
            "heroctl.request_id": exchange.request_id.decode("ascii"),
            "heroctl.namespace": exchange.about.namespace,
            "heroctl.job": exchange.about.job,
        },
    )


def _spelled(scope: Any) -> Any:  # noqa: ANN401 - ASGI
    """Spell the path in the router's way, before anybody reads it: all have to find the same words at its places."""
    path = normalize_path(scope["path"])
    return scope if path == scope["path"] else {**scope, "path": path}


def _no_page(scope: Any) -> None:  # noqa: ANN401 - ASGI
    """Refuse what comes from a page: browsers always name its origin, open sockets across sites, and ask nobody."""
    if any(name == b"origin" for name, _ in scope["headers"]):
        raise Forbidden("browser_refused", "no WebSocket is opened for pages in browsers: use the command line")


def _allowed(path: str) -> str:
    """Name the methods of a path; nothing: there is no such path."""
    methods = {row.method for row in ROUTES if row.takes(path)}
    if not methods:
        return ""
    return ", ".join(sorted(methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())))
