"""Commands run in allocations: the WebSocket of who has one run, and that of the agent who comes to run it.

No agent is ever dialled. What is to be run is written down first; that names this api to the agent, which comes here
and asks for it. What is typed and printed passes through, and is kept nowhere.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final, NoReturn

import structlog

from api.access import forbidden
from api.allocations import addressed, needed
from api.answer import Answer
from api.call import Call
from api.contract import tells
from api.errors import refusal_of
from api.exec_desk import Visit
from api.exec_relay import LEFT, LOST, Caller, Tally, heard, relay
from api.gate import UNSEEN
from api.socket import BROKEN, GOING, NORMAL, REFUSED, Gone, Socket
from api.sse import End, admitted_again
from eventstore.log import LogUnavailable
from heroctl.domain import spec as specs
from heroctl.domain.errors import Invalid, NotFound, Refusal, UpgradeRequired
from heroctl.domain.events import AllocExecEnded, AllocExecRequested
from heroctl.domain.execs import PROTOCOL, Exit, Fault, NotUnderstood, Start, asked, text
from heroctl.domain.intents.allocs import exec_alloc
from heroctl.domain.intents.change import Change, job_stream
from heroctl.domain.needs import needs
from heroctl.domain.records import Alloc
from heroctl.domain.state import State

BEGIN: Final = 10.0  # seconds in which a caller says what to run
COME: Final = 20.0  # seconds in which the node's agent comes for it
_CLOSED: Final[dict[str, int]] = {"api_stopping": GOING, LOST.error: BROKEN}
_ENDS: Final[dict[End, Fault]] = {
    "drain": Fault("api_stopping", "the api that this went through ends: run it again"),
    "token_expired": Fault("token_expired", "the token has expired"),
    "token_revoked": Fault("token_invalid", "the token was revoked"),
    "forbidden": Fault("forbidden", "the token may do this no more"),
}
_log: Final = structlog.get_logger(__name__)


@tells(
    None,
    "allocation_not_found",
    "ambiguous_id",
    "allocation_over",
    "allocation_stopping",
    "allocation_not_running",
    "browser_refused",
    "upgrade_required",
    status=(),
)
async def plain(call: Call) -> Answer:
    """Run a command in an allocation, over a WebSocket: see docs/exec.md for what is said on it."""
    _allowed(call)
    _upgrade()


@tells(None, "exec_not_found", "browser_refused", "upgrade_required", status=())
async def plain_agent(call: Call) -> Answer:
    """Come for a command that somebody has run on this node, over a WebSocket; its id is good once."""
    del call
    _upgrade()


def _upgrade() -> NoReturn:
    raise UpgradeRequired("upgrade_required", f"this is spoken over a WebSocket, in the subprotocol {PROTOCOL}")


# ── who has it run ───────────────────────────────────────────────────────────────────────────────────────────────────


async def attend(call: Call, socket: Socket) -> None:
    """Have a command run, for whoever may; how it ended is the last that is said."""
    alloc = _allowed(call)
    call.parts.waiters.check(call.principal)
    await socket.accept(PROTOCOL)
    try:
        end: Exit | Fault = await _attended(call, alloc, await _begun(socket), socket)
    except Gone:
        return
    except Exception as error:
        refusal = refusal_of(error)
        if refusal is None:
            await socket.close(BROKEN, "an error of the server, which is in its log")
            raise
        end = Fault(refusal.code, refusal.message)
    with contextlib.suppress(Gone, TimeoutError):
        async with asyncio.timeout(call.parts.bounds.patience):  # who reads nothing is not waited for
            await socket.put(text(end))
            await socket.close(_closing(end))


def _allowed(call: Call) -> Alloc:
    """Find the allocation. Refuse who may not have a command run in it, or not as whoever runs it there."""
    if call.parts.view.stale_seconds > UNSEEN:
        raise LogUnavailable("the log has not answered for too long: nothing is run meanwhile")
    alloc = addressed(call)
    state = call.parts.view.state
    version = state.jobs[alloc.uid].version(alloc.version)
    if version is not None:
        spec = specs.decode(version.spec)
        for need in needs(spec):
            if need.right.startswith("container:"):  # a command reaches as far as what it is run beside
                call.need(need.right, alloc.namespace, alloc.job, absent=_lacking(need.right))
    exec_alloc(alloc, AllocExecRequested(alloc.id, alloc.namespace, alloc.job, "", "", ()))
    return alloc


def _lacking(right: str) -> Refusal:
    return forbidden(right, "a command in this allocation")


async def _begun(socket: Socket) -> Start:
    """Hear what is to be run. Raises Gone, Invalid."""
    try:
        async with asyncio.timeout(BEGIN):
            start = asked(await socket.take())
    except TimeoutError:
        raise Invalid("invalid_body", f"nothing said within {BEGIN:g} s what to run") from None
    except NotUnderstood as error:
        raise Invalid("invalid_body", f"what is to be run cannot be understood: {error}") from None
    if not isinstance(start, Start):
        raise Invalid("invalid_body", "the first message says what is to be run: it is of type start")
    return start


async def _attended(call: Call, alloc: Alloc, start: Start, caller: Socket) -> Exit | Fault:
    """Write it down, have the agent come, pass on what is said, and write down how it ended."""
    parts, loop = call.parts, asyncio.get_running_loop()
    with parts.desk.expect(alloc.node) as visit:
        words = alloc.id, alloc.namespace, alloc.job, visit.id
        request = AllocExecRequested(*words, parts.url, start.command, start.tty)

        def decide(state: State) -> Change:
            return exec_alloc(needed(state, alloc.id, call.sees), request)

        await call.change(job_stream(alloc.namespace, alloc.job), decide)
        began, tally = loop.time(), Tally(loop.time())
        end: Exit | Fault = LEFT
        try:
            async with heard(caller) as heeded:
                end = await _bounded(call, _run(visit, start, heeded, tally), tally)
        finally:
            seconds = round(loop.time() - began, 3)
            ended = AllocExecEnded(*words, seconds, tally.received, tally.sent, *_told(end))
            await asyncio.shield(asyncio.create_task(_write_down(call, ended)))
    return end


async def _run(visit: Visit, start: Start, caller: Caller, tally: Tally) -> Exit | Fault:
    leaving = asyncio.create_task(caller.left.wait())
    try:
        either: tuple[asyncio.Future[Any], ...] = (visit.agent, leaving)
        await asyncio.wait(either, timeout=COME, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
    if caller.left.is_set():
        return LEFT
    if not visit.agent.done():
        return Fault("node_silent", f"the node's agent did not come for it within {COME:g} s: look whether it is up")
    agent = visit.agent.result()
    try:
        await agent.put(text(start))
    except Gone:
        return LOST
    return await relay(caller, agent, tally)


async def _bounded(call: Call, work: Any, tally: Tally) -> Exit | Fault:  # noqa: ANN401 - a coroutine
    """Let it go on as long as its caller may have it run, something is said now and then, and there is an end."""
    watches = (_while_allowed(call), _while_busy(call, tally))
    tasks: list[asyncio.Task[Exit | Fault]] = [asyncio.create_task(one) for one in (work, *watches)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task in done).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _while_allowed(call: Call) -> Fault:
    """Say why it must end, when it must: its token, its rights, this process."""
    parts = call.parts
    while True:
        with parts.waiters.hold(call.principal, _silence) as leaving:
            await asyncio.wait({leaving}, timeout=max(0.0, call.principal.until - parts.clock()))
        end = admitted_again(call)
        if end is not None:
            return _ENDS[end]


async def _while_busy(call: Call, tally: Tally) -> Fault:
    """Say that it takes too long, when it does."""
    bounds, loop = call.parts.bounds, asyncio.get_running_loop()
    last = loop.time() + bounds.exec_longest
    while (left := min(last, tally.moved + bounds.exec_idle) - loop.time()) > 0:  # noqa: ASYNC110 - nobody says when
        await asyncio.sleep(left)
    if loop.time() >= last:
        return Fault("exec_timeout", f"it was ended: {bounds.exec_longest:g} s are over")
    return Fault("exec_timeout", f"it was ended: nothing was said for {bounds.exec_idle:g} s")


async def _silence() -> NoReturn:
    """Hear nothing: messages are read elsewhere."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError


async def _write_down(call: Call, ended: AllocExecEnded) -> None:
    """Say in the log how it ended; what cannot be written is logged, and the command has ended all the same."""
    try:
        stream = job_stream(ended.namespace, ended.job)
        await call.parts.writer.write(stream, lambda _: Change((ended,), (stream,)), call.meta)
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets its exit code
        _log.error("exec_end_not_written", alloc=ended.alloc, exec=ended.exec, error=str(error))


def _told(end: Exit | Fault) -> tuple[int | None, str]:
    return (end.code, "") if isinstance(end, Exit) else (None, end.error)


def _closing(end: Exit | Fault) -> int:
    return NORMAL if isinstance(end, Exit) else _CLOSED.get(end.error, REFUSED)


# ── who runs it ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def deliver(call: Call, socket: Socket) -> None:
    """Let a node's agent come for a command, once."""
    ticket = call.path["id"]
    visit = call.parts.desk.take(ticket, call.principal.node)
    if visit is None:
        raise NotFound("exec_not_found", f"nobody waits here for the command '{ticket}'")
    try:
        await socket.accept(PROTOCOL)
    except Gone:
        visit.over.set()
        return
    if not visit.agent.done():
        visit.agent.set_result(socket)
        await visit.over.wait()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(call.parts.bounds.patience):  # who reads nothing is not waited for
            await socket.close(NORMAL)
