"""The brake: an operator holds the replacement of what is on nodes that are down, or lets it go."""

from __future__ import annotations

from msgspec import Struct

from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.write import Done
from heroctl.domain.events import BrakeRequested
from heroctl.domain.intents import balance
from heroctl.domain.intents.change import claim_stream
from heroctl.domain.topics import CLUSTER


class Brake(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/cluster/brake`."""

    on: bool


class Braked(Struct, frozen=True):
    """What was asked of the coordinator; `GET /v1/cluster/status` tells when it is so."""

    on: bool
    index: int


@tells(Braked, "no_coordinator", body=Brake)
async def brake(call: Call) -> Answer:
    """Hold the replacement of what is on nodes that are down, until it is let go by hand; or let it go now."""
    wanted = await call.body(Brake)
    call.parts.need_coordinator()
    stream = claim_stream("cluster", "brake")
    return _said(call, await call.change(stream, lambda state: balance.set_brake(state, on=wanted.on)), on=wanted.on)


async def asked(call: Call, done: Done) -> Answer:
    """Say again what was asked."""
    said = next((event.on for event in done.events if isinstance(event, BrakeRequested)), None)
    return _said(call, done, on=(await call.body(Brake)).on if said is None else said)


def _said(call: Call, done: Done, *, on: bool) -> Answer:
    index = done.index or call.parts.view.state.topic_index(CLUSTER)
    return answer(Braked(on, index), index=index)
