"""The application: the table of routes put into Litestar, and the front before it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from litestar import Litestar, Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from api import encoding, paging
from api.access import Principal
from api.answer import COMPRESSED_FROM, INDEX, Answer, Header, Message, Receive, empty
from api.call import Call
from api.errors import answer_to
from api.exchange import Exchange
from api.front import Front, Make, Meet, page_key
from api.idempotency import perform
from api.parts import Parts
from api.past import invalid
from api.query import arguments
from api.questions import Question, name_of
from api.reads import Page, Query, Reader, Reading
from api.requestlog import RequestLog, Subject
from api.routes import ROUTES
from api.row import AT, WAITING, Meeting, Row
from api.socket import Socket
from api.wait import Outcome, Poll, poll_of
from eventstore.view import Change
from heroctl import logs
from heroctl.domain.cluster_settings import cluster_settings
from heroctl.domain.policy import placed
from heroctl.domain.topics import ACL, SETTINGS


def build(parts: Parts, log: RequestLog) -> Front:
    """Put the application together."""
    front = Front(_router(ROUTES), parts, log)
    for row in ROUTES:
        front.makes[row] = _reads(row, row.read, parts, front) if row.read else _does(row, parts)
        if row.meet is not None:
            front.meets[row] = _meets(row, row.meet, parts)
    parts.view.subscribe(lambda change: _follow(parts, front, change))
    parts.view.subscribe(parts.feed.follow)
    _heed_level(parts)
    return front


@cache
def _router(rows: tuple[Row, ...]) -> Litestar:
    """Make the router, one for all applications: it knows the routes, and the front who answers them."""
    handlers = [_handler(row, rows) for row in rows]
    return Litestar(handlers, openapi_config=None, logging_config=None, exception_handlers={Exception: _refuse})


def _follow(parts: Parts, front: Front, change: Change) -> None:
    """Act on what the log says about who may what, and on another history."""
    if change.reloaded:
        parts.pages.clear()
        parts.world.forget()
        parts.synced.clear()
        front.ready.clear()
        parts.archive.forget()
    if change.reloaded or SETTINGS in change.topics:
        _heed_level(parts)
    if change.reloaded or ACL in change.topics:
        parts.waiters.end(parts.gate.still)


def _heed_level(parts: Parts) -> None:
    logs.follow(cluster_settings(parts.view.state).level_of("api"))


def _handler(row: Row, rows: Sequence[Row]) -> HTTPRouteHandler:
    async def serve(request: Request[Any, Any, Any]) -> ASGIApp:
        exchange: Exchange = request.scope["state"]["exchange"]
        make: Make = request.scope["state"]["makes"][row]
        try:
            exchange.answer = await make(request, exchange)
        except Exception as error:  # noqa: BLE001 - all become answers; bugs are logged in full there
            exchange.fail(error)
        return _sent_by_the_front

    path = _paths(row, rows)
    return HTTPRouteHandler(path, http_method=row.method, status_code=200, opt={"row": row})(serve)  # type: ignore[arg-type] # any method


async def _sent_by_the_front(_scope: object, _receive: object, _send: object) -> None:
    """Send nothing: the answer is on the exchange."""


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
    """Answer what the router itself refuses."""
    exchange: Exchange = request.scope["state"]["exchange"]
    made = answer_to(error, exchange.request_id.decode())
    headers = {name.decode(): value.decode("latin-1") for name, value in made.headers}
    return Response(made.body, status_code=made.status, headers=headers)


# ── reads ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _reads(row: Row, reader: Reader, parts: Parts, front: Front) -> Make:
    async def make(request: Request[Any, Any, Any], exchange: Exchange) -> Answer:
        scope = request.scope
        path, given = scope["path"], scope["query_string"]
        args = arguments(given, row.args)
        exchange.about = _subject(row, row.placeholders(path), args.get("namespace", ""))
        part = paging.wanted(parts.marks, path, args, row.order)
        if AT in args:
            then = await _as_it_was(row, exchange, parts, path, args)
            if part is not None:
                then = paging.cut(parts.marks, part, then, then.index)
            return _unless_known(then, scope["headers"])
        poll = poll_of(args)
        filters = tuple(sorted(pair for pair in args.items() if pair[0] not in WAITING))
        words, sought = row.placeholders(path), dict(filters)
        if poll is not None:
            query = Query(words, sought, exchange.principal.scope(row.access.right))
            reading = _about(exchange, parts, reader(parts.world, query))
            outcome = await _wait(parts, exchange.principal, reading.topic, poll, request)
            exchange.principal = parts.heed(outcome, exchange.principal, row.access)
        query = Query(words, sought, exchange.principal.scope(row.access.right))
        key = page_key(path, filters, query.scope)
        page = parts.pages.find(key)
        if page is None:
            reading = _about(exchange, parts, reader(parts.world, query))
            page = parts.pages.page(key, reading._replace(make=lambda: _judged(row, query, reading)))
        if not given:
            front.keep(path, row, exchange.about)
        if part is not None:
            page = paging.cut(parts.marks, part, page)
        return _unless_known(page, scope["headers"])

    return make


def _judged(row: Row, query: Query, reading: Reading) -> bytes:
    """Make a body; fail where nobody asked who may see what stands in it. That is a bug, and answered as one."""
    body = reading.make()
    if placed(row.access.right) and not query.judged:
        raise AssertionError(f"nobody asked who may see what {row.path} shows")
    return body


async def _as_it_was(row: Row, exchange: Exchange, parts: Parts, path: str, args: dict[str, str]) -> Page:
    """Answer as of another moment."""
    if any(name in args for name in WAITING):
        raise invalid("what was does not change: it cannot be waited for with index or wait")
    place = await parts.archive.place(args.pop(AT))
    exchange.index = place.index
    scope = exchange.principal.scope(row.access.right)
    key = (parts.view.state.incarnation, page_key(path, tuple(sorted(args.items())), scope))
    question = Question(name_of(row.read), row.placeholders(path), args, scope, place.index)
    return await parts.archive.page(key, question, place)


def _about(exchange: Exchange, parts: Parts, reading: Reading) -> Reading:
    exchange.index = parts.view.topic_index(reading.topic)
    return reading


async def _wait(parts: Parts, who: Principal, topic: str, poll: Poll, request: Request[Any, Any, Any]) -> Outcome:
    """Wait as asked."""
    if parts.view.topic_index(topic) > poll.index:
        return "moved"
    return await parts.waiters.wait(topic, poll, who, request.receive, who.until - parts.clock())


def _unless_known(page: Page, headers: Iterable[Header]) -> Answer:
    """Send a page, or say that it is the one which the client has."""
    for name, value in headers:
        if name == b"if-none-match" and encoding.names(value, page.tag):
            packed = len(page.answer.body) >= COMPRESSED_FROM and encoding.asked(headers)
            tag = encoding.tag_of(page.tag) if packed else page.tag
            return empty(304, (b"etag", tag), (b"vary", b"accept-encoding"), (INDEX, b"%d" % page.index))
    return page.answer


# ── everything else ──────────────────────────────────────────────────────────────────────────────────────────────────


def _call(row: Row, parts: Parts, exchange: Exchange, scope: Any, receive: Receive) -> Call:  # noqa: ANN401 - ASGI
    call = Call(
        parts,
        exchange.principal,
        exchange.request_id.decode(),
        access=row.access,
        path=row.placeholders(scope["path"]),
        args=arguments(scope["query_string"], row.args),
        headers=list(scope["headers"]),
        receive=receive,
        client=exchange.client,
    )
    exchange.about = _subject(row, call.path, call.args.get("namespace", ""))
    return call


def _meets(row: Row, meeting: Meeting, parts: Parts) -> Meet:
    async def meet(socket: Socket, scope: Any, exchange: Exchange) -> None:  # noqa: ANN401 - ASGI
        call = _call(row, parts, exchange, scope, _deaf)
        await meeting(call, socket)
        exchange.about = _subject(row, call.path, *call.about)

    return meet


async def _deaf() -> Message:
    raise AssertionError("what comes over a WebSocket is taken from its socket")


def _does(row: Row, parts: Parts) -> Make:
    async def make(request: Request[Any, Any, Any], exchange: Exchange) -> Answer:
        call = _call(row, parts, exchange, request.scope, request.receive)
        answer = await perform(row, call)
        call.judged()
        exchange.about = _subject(row, call.path, *call.about, index=answer.index)
        return answer

    return make


def _subject(row: Row, words: Mapping[str, str], namespace: str, job: str = "", *, index: int = 0) -> Subject:
    """Say what a request is about, for the log of this process."""
    if row.path.startswith("/v1/jobs/{name}"):
        return Subject(namespace or "default", words["name"], "", index)
    alloc = words.get("id", "") if row.path.startswith("/v1/allocations/") else ""
    return Subject(namespace, job, alloc, index)
