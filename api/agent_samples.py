"""Samples that agents send: what their node and its allocations use."""

from __future__ import annotations

from typing import Final

import msgspec

from api.agent import caught_up, decoded
from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from heroctl.domain.intents import nodes as intents
from heroctl.domain.metrics import STEP
from heroctl.domain.sampling import SamplesReply, SamplesRequest

_REQUEST: Final = msgspec.json.Decoder(SamplesRequest)


@tells(
    SamplesReply,
    "starting",
    "node_not_found",
    "session_replaced",
    "session_unknown",
    "session_lapsed",
    body=SamplesRequest,
    writes=False,
)
async def take(call: Call) -> Answer:
    """Take what a node and its allocations use. Of an allocation that is another node's nothing is kept.

    It is answered once it is kept; sent again, it changes nothing.
    """
    parts = call.parts
    caught_up(parts)
    request = await decoded(call, _REQUEST)
    state = parts.view.state
    node = intents.find_node(state, call.principal.node)
    intents.check_session(node, request.session)
    await parts.usage.take(node, request, state)
    return answer(SamplesReply(STEP - parts.usage.now() % STEP), index=parts.view.index)
