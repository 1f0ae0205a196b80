"""The application: the table of routes put into Litestar, and the front before it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

from litestar import Litestar, Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from api.access import expired, no_token
from api.answer import INDEX, Answer, Header
from api.call import Call, arguments
from api.errors import answer_to
from api.front import Exchange, Front
from api.parts import Parts
from api.reads import Page, Query, Reading
from api.requestlog import RequestLog
from api.routes import ROUTES, WAITING, Row
from api.wait import Poll, poll_of
from eventstore.view import Change
from heroctl.domain.state import ACL

_NO_ARGUMENTS: Final[tuple[tuple[str, str], ...]] = ()
_NOBODY_LISTENS: Final = Answer(b"")


def build(parts: Parts, log: RequestLog) -> Front:
    """Put the application together."""
    router = Litestar([], openapi_config=None, logging_config=None, exception_handlers={Exception: _refuse})
    front = Front(router, parts, log)
    for row in ROUTES:
        router.register(_handler(row, _reads(row, parts, front) if row.read else _does(row, parts)))
    parts.view.subscribe(lambda change: _follow(parts, front, change))
    return front


def _follow(parts: Parts, front: Front, change: Change) -> None:
    """Act on what the log says about who may what, and on another history."""
    if change.reloaded:
        parts.pages.clear()
        parts.world.items.clear()
        parts.synced.clear()
        front.ready.clear()
    if change.reloaded or ACL in change.topics:
        parts.waiters.end(parts.gate.still)


def _handler(row: Row, serve: Callable[[Request[Any, Any, Any]], Awaitable[ASGIApp]]) -> HTTPRouteHandler:
    return HTTPRouteHandler(_paths(row, ROUTES), http_method=row.method, status_code=200, opt={"row": row})(serve)  # type: ignore[arg-type] # any method


def _paths(row: Row, rows: Sequence[Row]) -> list[str]:
    """Give its own path, and those that rows of other methods claim with a word in a placeholder's place.

    So a job may be called `validate`, too.
    """
    claimed = {other.path for other in rows if other.path != row.path and row.takes(other.path)}
    own = {other.path for other in rows if other.method == row.method}
    return [_typed(row.path), *sorted(_typed(path) for path in claimed - own)]


def _typed(path: str) -> str:
    return path.replace("}", ":str}")


def _refuse(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    exchange: Exchange | None = request.scope["state"].get("exchange")
    made = answer_to(error, exchange.request_id.decode() if exchange else "")
    headers = {name.decode(): value.decode("latin-1") for name, value in made.headers}
    return Response(made.body, status_code=made.status, headers=headers)


# ── reads ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _reads(row: Row, parts: Parts, front: Front) -> Callable[[Request[Any, Any, Any]], Awaitable[ASGIApp]]:
    reader = row.read
    assert reader is not None  # noqa: S101 - the caller looked

    async def serve(request: Request[Any, Any, Any]) -> ASGIApp:
        scope = request.scope
        path, given = scope["path"], scope["query_string"]
        exchange: Exchange = scope["state"]["exchange"]
        args = arguments(given, row.args) if given else {}
        poll = poll_of(args)
        filters = tuple(sorted(pair for pair in args.items() if pair[0] not in WAITING)) if args else _NO_ARGUMENTS
        query = Query(row.placeholders(path), dict(filters))
        key = (path, filters)
        if poll is not None:
            reading = _about(exchange, parts, reader(parts.world, query))
            if not await _wait(parts, exchange, reading, poll, request):
                return _NOBODY_LISTENS
        page = parts.pages.find(key)
        if page is None:
            page = parts.pages.page(key, _about(exchange, parts, reader(parts.world, query)))
            if not given:
                front.keep(path, row, key)
        return _unless_known(page, request.scope["headers"])

    return serve


def _about(exchange: Exchange, parts: Parts, reading: Reading) -> Reading:
    exchange.index = parts.view.topic_index(reading.topic)
    return reading


async def _wait(
    parts: Parts, exchange: Exchange, reading: Reading, poll: Poll, request: Request[Any, Any, Any]
) -> bool:
    """Wait as asked; False: the client has gone. Raises when the token ended meanwhile."""
    if parts.view.topic_index(reading.topic) > poll.index:
        return True
    who = exchange.principal
    outcome = await parts.waiters.wait(reading.topic, poll, who, request.receive, who.until - parts.clock())
    if who.until <= parts.clock():
        raise expired()
    if outcome == "ended" and not parts.gate.still(who):
        raise no_token()
    return outcome != "gone"


def _unless_known(page: Page, headers: Iterable[Header]) -> ASGIApp:
    """Send a page, or say that it is the one which the client has."""
    for name, value in headers:
        if name == b"if-none-match" and page.tag in value:
            known = Answer(b"", 304)
            known.headers = [(b"etag", page.tag), (INDEX, b"%d" % page.index)]
            return known
    return page.answer


# ── everything else ──────────────────────────────────────────────────────────────────────────────────────────────────


def _does(row: Row, parts: Parts) -> Callable[[Request[Any, Any, Any]], Awaitable[ASGIApp]]:
    action = row.do
    assert action is not None  # noqa: S101 - the caller looked

    async def serve(request: Request[Any, Any, Any]) -> ASGIApp:
        scope = request.scope
        exchange: Exchange = scope["state"]["exchange"]
        client = scope.get("client")
        return await action(
            Call(
                parts,
                exchange.principal,
                exchange.request_id.decode(),
                path=row.placeholders(scope["path"]),
                args=arguments(scope["query_string"], row.args),
                headers=list(scope["headers"]),
                receive=request.receive,
                client=client[0] if client else "",
            )
        )

    return serve
