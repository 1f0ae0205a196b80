"""Launches: the runs of a batch job, each to its end; and what begins one beside a submit."""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.jobs import of_one
from api.launch_shapes import LaunchItem, Replicas
from api.reads import Query, Reading
from api.wire import Submitted, encode, stamp, stamp_or_none
from api.world import Sight
from api.write import Done
from heroctl.domain.errors import Invalid, Problem, not_found
from heroctl.domain.events import JobDispatched
from heroctl.domain.evolve.launches import running
from heroctl.domain.intents import launches as intents
from heroctl.domain.intents.change import Change, job_stream
from heroctl.domain.intents.jobs import find_job
from heroctl.domain.lifecycle import AllocationStatus
from heroctl.domain.records import Job, Launch
from heroctl.domain.state import State
from heroctl.domain.topics import job_topic

_LONGEST = 4 * ((intents.MAX_PAYLOAD + 2) // 3)  # characters, in base64


class DispatchRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/jobs/:name/dispatch`: something to work on, at most 64 KiB, and words that go with it."""

    payload: Annotated[str, Meta(max_length=_LONGEST)] = ""
    encoding: Literal["text", "base64"] = "text"
    meta: dict[str, str] = field(default_factory=dict)


# ── reads ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@tells(list[LaunchItem], "job_not_found")
def listing(world: Sight, query: Query) -> Reading:
    """The launches of a batch job that are kept, the newest first: all that go on, and fifty of those before."""

    def show(namespace: str, name: str) -> bytes:
        job = find_job(world.state, namespace, name)
        known = world.state.launches.get(job.uid, ())
        counts = _counts(world.state, job)
        return encode([_item(launch, counts.get(launch.number, Counter())) for launch in reversed(known)])

    return of_one(query, show)


def _counts(state: State, job: Job) -> dict[int, Counter[AllocationStatus]]:
    counts: dict[int, Counter[AllocationStatus]] = {}
    for alloc in state.allocs_of(job.uid):
        if not alloc.terminal:
            counts.setdefault(alloc.launch, Counter())[alloc.status] += 1
    return counts


def _item(launch: Launch, counts: Counter[AllocationStatus]) -> LaunchItem:
    return LaunchItem(
        number=launch.number,
        version=launch.version,
        kind=launch.kind,
        by=launch.by,
        status=launch.status,
        reason=launch.reason,
        scheduled_at=stamp_or_none(launch.scheduled_at),
        created_at=stamp(launch.created_at),
        finished_at=stamp_or_none(launch.finished_at),
        allocations=Replicas(
            pending=counts["pending"] + counts["starting"],
            running=counts["running"],
            stopping=counts["stopping"],
            complete=launch.complete,
            failed=launch.failed,
        ),
        payload_bytes=launch.size,
        meta=dict(launch.meta),
        skipped=launch.skipped,
        skipped_at=stamp_or_none(launch.skipped_at),
        index=launch.index,
    )


# ── writes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@tells(
    Submitted,
    "job_not_found",
    "not_batch",
    "not_dispatchable",
    "too_many_launches",
    "job_stopped",
    body=DispatchRequest,
)
async def dispatch(call: Call) -> Answer:
    """Launch a batch job, with something to work on. Each call is a launch: send an `Idempotency-Key` to repeat it."""
    wanted, actor = await call.body(DispatchRequest), call.principal.actor
    payload = _payload(wanted)
    return await _launch(call, lambda job, going: intents.dispatch(job, going, payload, wanted.meta, actor))


@tells(Submitted, "job_not_found", "not_batch", "not_periodic", "too_many_launches", "job_stopped", "no_coordinator")
async def force(call: Call) -> Answer:
    """Launch a periodic job now, whatever its clock says, and whether a launch goes on or not."""
    await call.nothing()
    actor = call.principal.actor
    return await _launch(call, lambda job, going: intents.force(job, going, actor), now=True)


def _payload(wanted: DispatchRequest) -> bytes:
    if wanted.encoding == "text":
        return wanted.payload.encode()
    try:
        return base64.b64decode(wanted.payload, validate=True)
    except (binascii.Error, ValueError):
        problem = Problem("payload", "invalid_value", "this is no base64")
        raise Invalid("invalid_body", f"payload: {problem.message}", details=(problem,)) from None


async def _launch(call: Call, decide: intents.Decide, *, now: bool = False) -> Answer:
    namespace, name = call.namespace, call.path["name"]
    call.allow(namespace, name, absent=not_found("job", name))
    if now:
        call.parts.need_coordinator()

    def decided(state: State) -> Change:
        job = find_job(state, namespace, name)
        return decide(job, running(state, job.uid))

    return await written(call, await call.change(job_stream(namespace, name), decided))


async def written(call: Call, done: Done) -> Answer:
    """Say which launch was begun."""
    namespace, name = call.namespace, call.path["name"]
    call.allow(namespace, name, absent=not_found("job", name))
    made = next((event for event in done.events if isinstance(event, JobDispatched)), None)
    body = Submitted(
        name=name,
        namespace=namespace,
        version=made.version if made is not None else 0,
        index=done.index or call.parts.view.state.topic_index(job_topic(namespace, name)),
        deployment_id="",
        launch=made.launch if made is not None else None,
        warnings=call.parts.doubts(),
    )
    return answer(body, index=body.index)
