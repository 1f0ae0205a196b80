"""Samples that agents send: what their node and its allocations use."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec

from api.agent import caught_up, decoded
from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from heroctl.domain import spec as specs
from heroctl.domain.checks import port_of
from heroctl.domain.intents import nodes as intents
from heroctl.domain.metrics import STEP
from heroctl.domain.records import Alloc
from heroctl.domain.sampling import SamplesReply, SamplesRequest, Scrape
from heroctl.domain.state import State

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
    state = parts.view.state
    scrape = [each for alloc in state.allocs_on(node.id) if (each := _scrape(state, alloc)) is not None]
    return answer(SamplesReply(STEP - parts.usage.now() % STEP, scrape), index=parts.view.index)


def _scrape(state: State, alloc: Alloc) -> Scrape | None:
    """Say where an allocation's application tells metrics, if it runs and its job, as it is now, says so."""
    job = state.jobs.get(alloc.uid)
    if job is None or alloc.status != "running":
        return None
    spec = _decoded(job.current.spec)
    metrics, task = spec.metrics, spec.task(alloc.task)
    port = port_of(task, metrics) if task is not None and metrics is not None and metrics.enabled else ""
    if metrics is None or not port:
        return None
    return Scrape(alloc.id, port, metrics.path, metrics.interval.seconds)


@lru_cache(maxsize=512)
def _decoded(spec: bytes) -> specs.Job:
    return specs.decode(spec)
