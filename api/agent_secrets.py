"""What agents ask of secrets: the values that the allocations on their very node were made with, and no others.

A node's token opens nothing but that: not the newest value, not another node's, not what has ended. Nothing is given by
a process that has been without the log for long: it would not know of a deletion, or of a node that was removed.
"""

from __future__ import annotations

import base64
from typing import Final

import msgspec

from api.agent import caught_up, decoded
from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.gate import UNSEEN
from eventstore.log import LogUnavailable
from eventstore.master import Master
from eventstore.seal import Place
from heroctl.domain.assignment import SecretsReply, SecretsRequest
from heroctl.domain.errors import Conflict, Invalid, Problem
from heroctl.domain.intents import nodes as intents
from heroctl.domain.pinned import Withheld, pins_of
from heroctl.domain.records import SecretVersion
from heroctl.domain.state import State

MOST: Final = 100  # allocations that one request may name
_REQUEST: Final = msgspec.json.Decoder(SecretsRequest)


@tells(
    SecretsReply,
    "starting",
    "node_not_found",
    "session_replaced",
    "session_unknown",
    "session_lapsed",
    "secrets_not_configured",
    "secrets_key_missing",
    body=SecretsRequest,
    writes=False,
)
async def give(call: Call) -> Answer:
    """Give each allocation the values that it was made with, or the reason why it gets none."""
    parts, node = call.parts, call.principal.node
    caught_up(parts)
    if parts.view.stale_seconds > UNSEEN:
        raise LogUnavailable("the log has not answered for too long: no secrets are given meanwhile")
    parts.master.need()
    request = await decoded(call, _REQUEST)
    if len(request.allocs) > MOST:
        problem = Problem("allocs", "out_of_range", f"at most {MOST}")
        raise Invalid("invalid_body", f"allocs: {problem.message}", details=(problem,))
    state = parts.view.state
    intents.check_session(intents.find_node(state, node), request.session)
    index = state.index
    return answer(await _reply(parts.master, state, node, request.allocs), index=index)


async def _reply(master: Master, state: State, node: str, allocs: list[str]) -> SecretsReply:
    judged: dict[str, dict[str, SecretVersion] | Withheld] = {each: pins_of(state, node, each) for each in allocs}
    places = {
        version.row: Place(version.row, state.allocs[alloc].namespace, name, version.version)
        for alloc, pins in judged.items()
        if isinstance(pins, dict)
        for name, version in pins.items()
    }
    opened = {row: await _opened(master, place) for row, place in places.items()}
    values: dict[str, dict[str, str]] = {}
    refused: dict[str, str] = {}
    for alloc, pins in judged.items():
        if not isinstance(pins, dict):
            refused[alloc] = pins
            continue
        found = {name: value for name, version in pins.items() if (value := opened[version.row]) is not None}
        if len(found) == len(pins):
            values[alloc] = found
        else:
            refused[alloc] = "missing"
    return SecretsReply(values, refused)


async def _opened(master: Master, place: Place) -> str | None:
    """Give a value in base64; None: it is gone, or opens no more."""
    try:
        value = await master.open(place)
    except Conflict:
        return None
    return None if value is None else base64.b64encode(value).decode()
