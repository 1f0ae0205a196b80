"""What an agent is told of the services that its allocations refer to: where each is found now. Wire and fold.

    ${service.JOB.TASK.PORT}

A job is one of the allocation's own namespace. Unknown fields are ignored in both directions; see `assignment`.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec
from msgspec import Struct, field

from heroctl.domain import spec as specs
from heroctl.domain.ids import digest
from heroctl.domain.records import Alloc
from heroctl.domain.references import references
from heroctl.domain.services import instances, port_of
from heroctl.domain.state import State

_ENCODER = msgspec.json.Encoder(order="deterministic")


class ServicesRequest(Struct, frozen=True):
    """Body of `POST /v1/agent/services`. `known`: the digest of what the agent holds; "": nothing."""

    known: str
    wait: float = 0.0  # seconds to wait for something else


class Endpoint(Struct, frozen=True, gc=False):
    """Where one healthy replica takes connections."""

    node: str  # id
    address: str
    port: int


class ServiceEndpoints(Struct, frozen=True, gc=False):
    """One service, and where it is found: nowhere, or at some places in the order of their replicas' age."""

    namespace: str
    name: str  # JOB.TASK.PORT
    endpoints: tuple[Endpoint, ...] = ()


class ServicesReply(Struct, frozen=True):
    """The answer: every service that an allocation of the node refers to."""

    digest: str
    services: list[ServiceEndpoints] = field(default_factory=list)


def referred(task: specs.Task) -> tuple[str, ...]:
    """Name the services that a task refers to, as JOB.TASK.PORT, each once, sorted."""
    return tuple(sorted({name for _, (kind, name) in references(task) if kind == "service"}))


def told(state: State, node: str) -> ServicesReply:
    """Say all that a node's agent is to know of services."""
    names = {(alloc.namespace, name) for alloc in state.allocs_on(node) for name in _of(state, alloc)}
    services = [ServiceEndpoints(namespace, name, _found(state, namespace, name)) for namespace, name in sorted(names)]
    return ServicesReply(digest(_ENCODER.encode(services)), services)


def _of(state: State, alloc: Alloc) -> tuple[str, ...]:
    job = state.jobs[alloc.uid]
    version = job.version(alloc.version) or job.current
    return _referred(version.spec, alloc.task)


@lru_cache(maxsize=8192)
def _referred(spec: bytes, name: str) -> tuple[str, ...]:
    task = specs.decode(spec).task(name)
    return () if task is None else referred(task)


def _found(state: State, namespace: str, name: str) -> tuple[Endpoint, ...]:
    wanted, _, rest = name.partition(".")
    task, _, port = rest.partition(".")
    job = state.job(namespace, wanted)
    found = instances(state, job, task, port) if job is not None else ()
    return tuple(Endpoint(alloc.node, alloc.address, port_of(alloc, port)) for alloc in found)
