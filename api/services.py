"""Services: where the healthy replicas of each task's ports are found, for people, proxies and agents."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from api.agent import caught_up, decoded
from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.reads import Query, Reading
from api.wait import LONGEST, Poll
from api.wire import encode
from api.world import Sight
from heroctl.domain import endpoints
from heroctl.domain.endpoints import ServicesReply, ServicesRequest
from heroctl.domain.intents import jobs as intents
from heroctl.domain.intents import nodes
from heroctl.domain.records import Alloc
from heroctl.domain.services import Service, port_of, services
from heroctl.domain.state import State
from heroctl.domain.topics import SERVICES, service_topic

_REQUEST: Final = msgspec.json.Decoder(ServicesRequest)


class Instance(Struct, frozen=True, gc=False):
    """One healthy replica of a task, and where it is reached."""

    alloc: str
    node: str
    address: str
    port: int
    healthy: bool
    version: int


class ServiceItem(Struct, frozen=True, gc=False):
    """A port of a task. `instances`: its healthy replicas, oldest first."""

    job: str
    namespace: str
    task: str
    port: str
    instances: list[Instance]


@tells(list[ServiceItem])
def listing(world: Sight, query: Query) -> Reading:
    """All services by namespace, job, task and port; `?job=`, `?namespace=`."""
    sees = query.sees

    def make() -> bytes:
        state = world.state
        jobs = (state.jobs[uid] for _, uid in sorted(state.names.items()))
        seen = (
            job
            for job in jobs
            if query.passes("namespace", job.namespace)
            and query.passes("job", job.name)
            and sees(job.namespace, job.name)
        )
        return encode([_item(state, each) for job in seen for each in sorted(services(state, job), key=_order)])

    return Reading(SERVICES, make)


@tells(list[ServiceItem], "job_not_found")
def of_job(world: Sight, query: Query) -> Reading:
    """The services of one job, by task and port."""
    namespace, name = query.namespace, query.path["job"]
    seen = namespace if query.sees(namespace, name) else ""

    def make() -> bytes:
        state = world.state
        job = intents.find_job(state, seen, name)
        return encode([_item(state, each) for each in sorted(services(state, job), key=_order)])

    return Reading(service_topic(seen, name), make)


def _order(service: Service) -> tuple[str, str]:
    return service.task, service.port


def _item(state: State, service: Service) -> ServiceItem:
    job = service.job
    shown = [_instance(state, alloc, service.port) for alloc in service.instances]
    return ServiceItem(job.name, job.namespace, service.task, service.port, shown)


def _instance(state: State, alloc: Alloc, port: str) -> Instance:
    node = state.nodes[alloc.node].name
    return Instance(alloc.id, node, alloc.address, port_of(alloc, port), healthy=True, version=alloc.version)


@tells(ServicesReply, "starting", "node_not_found", "too_many_waiters", body=ServicesRequest)
async def of_node(call: Call) -> Answer:
    """Tell an agent of the services that its allocations refer to, now or when that is something else than it knows."""
    parts, node = call.parts, call.principal.node
    caught_up(parts)
    request = await decoded(call, _REQUEST)
    clock = call.parts.clock
    until = clock() + min(request.wait, LONGEST)
    while True:
        state = parts.view.state
        nodes.find_node(state, node)
        reply, left = endpoints.told(state, node), until - clock()
        if reply.digest != request.known or left <= 0:
            return answer(reply, index=state.index)
        poll = Poll(state.topic_index(SERVICES), left)
        if await parts.waiters.wait(SERVICES, poll, call.principal, call.receive, LONGEST) != "moved":
            until = 0.0
