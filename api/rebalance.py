"""Moving replicas to better nodes, because somebody asks for it."""

from __future__ import annotations

from api import jobs
from api.answer import Answer
from api.call import Call
from api.contract import tells
from api.wire import Written
from heroctl.domain.errors import not_found
from heroctl.domain.intents import balance
from heroctl.domain.intents.change import job_stream
from heroctl.domain.intents.jobs import find_job


@tells(Written, "job_not_found", "job_stopped", "not_movable", "no_coordinator")
async def rebalance(call: Call) -> Answer:
    """Let replicas of a job move to nodes that are clearly better for them, as `migrate` allows; each at most once."""
    await call.nothing()
    namespace, name = call.namespace, call.path["name"]
    call.allow(namespace, name, absent=not_found("job", name))
    call.parts.need_coordinator()
    done = await call.change(
        job_stream(namespace, name), lambda state: balance.rebalance_job(find_job(state, namespace, name))
    )
    return await jobs.written(call, done)
