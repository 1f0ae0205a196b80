"""Lines that agents ship through the api, where their node does not reach Redis itself."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from api.agent import caught_up, decoded
from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.logs import AWAY, unavailable
from heroctl.domain.intents import nodes as intents
from heroctl.domain.logs import LINE, LogsReply, LogsRequest, Shipment
from heroctl.domain.state import State

MOST: Final = 1_000  # shipments in one request
_REQUEST: Final = msgspec.json.Decoder(LogsRequest)


@tells(
    LogsReply,
    "starting",
    "node_not_found",
    "session_replaced",
    "session_unknown",
    "session_lapsed",
    "logs_unavailable",
    body=LogsRequest,
    writes=False,
)
async def take(call: Call) -> Answer:
    """Keep what workloads of a node wrote. Of an allocation that is another node's nothing is kept."""
    parts = call.parts
    caught_up(parts)
    request = await decoded(call, _REQUEST)
    state = parts.view.state
    node = intents.find_node(state, call.principal.node)
    intents.check_session(node, request.session)
    if parts.logs is None:
        raise unavailable("this cluster has no Redis")
    own = [each for each in request.shipments[:MOST] if _is_own(state, node.id, each)]
    try:
        ids = iter(await parts.logs.store.take(node.id, [_named(state, each) for each in own]))
    except AWAY as error:
        raise unavailable(str(error) or type(error).__name__) from None
    kept = {id(each) for each in own}
    return answer(LogsReply([next(ids) if id(each) in kept else "" for each in request.shipments]), index=state.index)


def _is_own(state: State, node: str, shipment: Shipment) -> bool:
    alloc = state.allocs.get(shipment.alloc)
    lines = shipment.batch.lines if shipment.batch is not None else []
    return alloc is not None and alloc.node == node and all(len(line.text) <= LINE for line in lines)


def _named(state: State, shipment: Shipment) -> Shipment:
    """Write the log's own words for whose lines they are into them."""
    alloc, batch = state.allocs[shipment.alloc], shipment.batch
    if batch is None:
        return shipment
    return replace(shipment, batch=replace(batch, namespace=alloc.namespace, job=alloc.job, task=alloc.task))
