"""What agents ask: a session when they start, and then one route for beat, reports and assignment in one.

Fields that this release does not know are ignored here, so that an agent may be newer than the api.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.parts import Parts, not_ready
from api.wait import LONGEST, Poll
from eventstore.log import Position
from heroctl.domain import assign
from heroctl.domain.assignment import Mark, Outcome, SessionReply, SessionRequest, SyncReply, SyncRequest
from heroctl.domain.cluster_settings import cluster_settings
from heroctl.domain.errors import Invalid, Problem
from heroctl.domain.intents import nodes as intents
from heroctl.domain.intents.change import NOTHING, Change, agent_stream, node_stream
from heroctl.domain.records import Node
from heroctl.domain.spec import encode_hook
from heroctl.domain.state import State
from heroctl.domain.topics import assignment_topic

T = TypeVar("T")

BEAT: Final = 2.0  # seconds between beats
_NODES_A_SECOND: Final = 1000
_IN_USE: Final = 10.0  # seconds since its last beat in which a session is taken to live
_SESSION: Final = msgspec.json.Decoder(SessionRequest)
_SYNC: Final = msgspec.json.Decoder(SyncRequest)
_ENCODER: Final = msgspec.json.Encoder(enc_hook=encode_hook)


@tells(SessionReply, "starting", "node_not_found", "node_in_use", body=SessionRequest)
async def session(call: Call) -> Answer:
    """Open a session: its reports are taken in the same append, and an older session of the node ends with it."""
    parts, node = call.parts, call.principal.node
    caught_up(parts)
    request = await decoded(call, _SESSION)
    await _hear_witness(parts, node, request, request.index)
    change = NOTHING

    def decide(state: State) -> Change:
        nonlocal change
        change = intents.open_session(state, node, request, beating=_beats(parts, intents.find_node(state, node)))
        return change

    last = await call.write(node_stream(node), decide)
    opened = last - len(change.events) + 1
    state = parts.view.state
    known = intents.find_node(state, node)
    reply = SessionReply(
        cluster=state.cluster,
        node=node,
        name=known.name,
        session=opened,
        incarnation=state.incarnation,
        index=assign.assignment_index(state, node),
        every=_every(state),
        redis=await parts.streams.access(node) if parts.streams else None,
    )
    return answer(reply, index=last)


def _beats(parts: Parts, node: Node) -> bool:
    silence = parts.pulse.silence(node.id)
    return silence is not None and silence < _IN_USE and parts.pulse.session_of(node.id) == node.session


def caught_up(parts: Parts) -> None:
    """Out of ignorance nothing is said to agents: not before the view has reached the head read at start."""
    if not parts.view.started:
        raise not_ready("starting", "this process has not read the log yet")


async def _hear_witness(parts: Parts, node: str, request: SessionRequest | SyncRequest, index: int) -> None:
    """Believe an agent that was told of this history what is not in it.

    Where every api and reconciler began anew on an older copy, nobody else remembers: under the old name the agent
    would take what it hears for late, and later take what it does not hear for gone. A copy that has gone on since is
    told by the agent's mark; an agent of a release without marks knows only how far that history went.
    """
    view, incarnation, mark = parts.view, request.incarnation, request.mark
    if incarnation != view.state.incarnation:
        return
    if mark is not None and not await view.passed(Position(mark.index, mark.chain)):
        why = f"node {node} was told of another event {mark.index}"
    elif index > view.index and index > (head := await view.head()).index and incarnation == head.incarnation:
        why = f"the log ends at {head.index}, and node {node} was told of {index}"
    else:
        return
    if incarnation == view.state.incarnation:  # nobody else was sooner
        await view.disown(why)


def _every(state: State) -> float:
    return max(BEAT, len(state.nodes) / _NODES_A_SECOND)


@tells(
    SyncReply,
    "starting",
    "node_not_found",
    "session_replaced",
    "session_unknown",
    "session_lapsed",
    "too_many_waiters",
    body=SyncRequest,
)
async def sync(call: Call) -> Answer:
    """Take a beat and reports; answer what the node should run."""
    parts, node = call.parts, call.principal.node
    caught_up(parts)
    request = await decoded(call, _SYNC)
    await parts.abreast(request.state_index)
    await _hear_witness(parts, node, request, max(request.index, request.session))
    results, appended = await _report(call, node, request)
    written = parts.pulse.beat(node, request)
    if not appended:
        await written
    if request.wait > 0:
        await _newer(call, node, request)
    return await _reply(parts, node, request, results)


async def _report(call: Call, node: str, request: SyncRequest) -> tuple[list[Outcome], bool]:
    """Take the reports of a numbered sync once: one sent again gets the answer that it had."""
    last = call.parts.synced.get(node)
    if last is not None and request.reports and last[:2] == (request.session, request.seq):
        return last[2], False
    results: list[Outcome] = []

    def decide(state: State) -> Change:
        nonlocal results
        change, results = intents.report(state, node, request.session, request.reports)
        return change

    appended = await call.write(agent_stream(node), decide)
    if request.reports:
        call.parts.synced[node] = (request.session, request.seq, results)
    return results, bool(appended)


async def _newer(call: Call, node: str, request: SyncRequest) -> None:
    """Wait for a newer assignment, for agents that hear no doorbell."""
    state = call.parts.view.state
    if request.incarnation != state.incarnation or not request.index:
        return
    poll = Poll(max(request.index, assign.assignment_index(state, node)), min(request.wait, LONGEST))
    if request.index >= assign.assignment_index(state, node):
        await call.parts.waiters.wait(assignment_topic(node), poll, call.principal, call.receive, LONGEST)


async def _reply(parts: Parts, node: str, request: SyncRequest, results: list[Outcome]) -> Answer:
    doorbell = await parts.streams.newest(node) if parts.streams and request.doorbell else ""
    redis = await parts.streams.access(node) if parts.streams and request.need_redis else None
    state, here = parts.view.state, parts.view.position
    known = intents.find_node(state, node)
    intents.check_session(known, request.session)
    same = request.incarnation == state.incarnation and request.index > 0
    reply = SyncReply(
        incarnation=state.incarnation,
        index=assign.assignment_index(state, node),
        state_index=state.index,
        every=_every(state),
        changed=assign.changed(state, known, request.index) if same else [],
        complete=None if same else assign.complete(state, known),
        results=results,
        release=[each for each in known.released if each in known.unknown],
        doorbell=doorbell,
        redis=redis,
        time=parts.pulse.time(parts.clock()),
        mark=Mark(here.index, here.chain),
        log_level=cluster_settings(state).level_of("agent"),
    )
    return Answer(_ENCODER.encode(reply), index=state.index)


async def decoded(call: Call, decoder: msgspec.json.Decoder[T]) -> T:
    """Read what an agent sent. Raises `invalid_body`."""
    content = await call.raw()
    try:
        return decoder.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = Problem("", "invalid_value", str(error))
        raise Invalid("invalid_body", f"the body cannot be read: {error}", details=(problem,)) from None
