"""Allocations: what they look like, and what may be asked of one: to stop, to begin anew, to take a signal."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, Final, Literal, Protocol, TypeVar

from msgspec import Struct

from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.reads import Query, Reading
from api.wire import (
    AllocationDetail,
    AllocationItem,
    PortMap,
    TimelineLine,
    Written,
    encode,
    joined,
    stamp,
    stamp_or_none,
)
from api.world import Sight
from api.write import Done
from heroctl.domain import spec as specs
from heroctl.domain.errors import Conflict, not_found
from heroctl.domain.events import AllocRestartRequested, AllocSignalRequested, AllocStopRequested
from heroctl.domain.intents import allocs as on
from heroctl.domain.intents import jobs as intents
from heroctl.domain.intents.change import NOTHING, Change, job_stream
from heroctl.domain.records import Alloc
from heroctl.domain.state import State
from heroctl.domain.topics import ALLOCS, alloc_topic, job_allocs_topic, node_allocs_topic


class Named(Protocol):
    """A record with an id."""

    @property
    def id(self) -> str:
        """The whole id."""
        ...


R = TypeVar("R", bound=Named)
Sees = Callable[[str, str], bool]  # by namespace and job

SHORTEST_PREFIX: Final = 4
_ASKED: Final = (AllocStopRequested, AllocRestartRequested, AllocSignalRequested)

# In words, so that the document of the api lists them; a test holds them to `checks.SIGNALS`.
SignalName = Literal["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGABRT"]


@tells(list[AllocationItem])
def listing(world: Sight, query: Query) -> Reading:
    """Allocations, oldest first; `?job=`, `?namespace=`, `?node=` (id or name), `?status=`."""
    return Reading(_topic(world.state, query), lambda: _list(world, query))


def _topic(state: State, query: Query) -> str:
    if "job" in query.args and knows_of(state, query):
        return job_allocs_topic(query.args["job"])
    if "node" in query.args:
        node = query.args["node"]
        return node_allocs_topic(state.node_names.get(node, node))
    return ALLOCS


def knows_of(state: State, query: Query) -> bool:
    """Tell whether the asker may be told when jobs of a name move: one sees all there could be, or one of them."""
    sees, name = query.sees, query.args["job"]
    return not query.scope or any(job.name == name and sees(job.namespace, name) for job in state.jobs.values())


def _list(world: Sight, query: Query) -> bytes:
    state, args, sees = world.state, query.args, query.sees
    node = state.node_names.get(args["node"], args["node"]) if "node" in args else None
    chosen = [
        alloc
        for alloc in _candidates(state, args.get("job"))
        if (node is None or alloc.node == node)
        and query.passes("namespace", alloc.namespace)
        and sees(alloc.namespace, alloc.job)
        and ("status" not in args or alloc.status == args["status"])
    ]
    chosen.sort(key=lambda alloc: (alloc.create_index, alloc.id))
    return joined(
        [
            world.items.get(alloc.id, (alloc.modify_index, alloc.node in state.nodes), item, state, alloc)
            for alloc in chosen
        ]
    )


def _candidates(state: State, job: str | None) -> list[Alloc]:
    if job is None:
        return list(state.allocs.values())
    # Deleted jobs of the name, too: their allocations stay listed until they are gone.
    uids = [uid for uid, record in state.jobs.items() if record.name == job]
    return [alloc for uid in uids for alloc in state.allocs_of(uid)]


@tells(AllocationDetail, "allocation_not_found", "ambiguous_id")
def detail(world: Sight, query: Query) -> Reading:
    """One allocation, with its timeline."""
    wanted, sees = query.path["id"], query.sees
    found = find(world.state, wanted, sees)
    topic = alloc_topic(found.id) if found else alloc_topic(hidden(wanted, world.state.allocs))
    return Reading(
        topic, lambda: encode(_detail(world.state, needed(world.state, found.id if found else wanted, sees)))
    )


def find(state: State, wanted: str, sees: Sees) -> Alloc | None:
    """Find an allocation that may be seen by its id, or by a prefix of at least 4 that no other such one has.

    Raises `ambiguous_id`.
    """
    found = state.allocs.get(wanted)
    if found is not None or len(wanted) < SHORTEST_PREFIX:
        return found if found is not None and sees(found.namespace, found.job) else None
    begins = (alloc for name, alloc in state.allocs.items() if name.startswith(wanted))
    return one_of([alloc for alloc in begins if sees(alloc.namespace, alloc.job)], wanted)


def hidden(wanted: str, known: Container[str]) -> str:
    """Give an id to wait for where nothing is to be seen: the one asked for, but not that of a thing that is there."""
    return "" if wanted in known else wanted


def one_of(found: list[R], wanted: str) -> R | None:
    """Give the only thing whose id begins so, or None."""
    if len(found) > 1:
        some = ", ".join(sorted(record.id for record in found)[:3])
        raise Conflict("ambiguous_id", f"'{wanted}' begins {len(found)} ids ({some} …): give more of it")
    return found[0] if found else None


def needed(state: State, wanted: str, sees: Sees) -> Alloc:
    """Give an allocation, by the first letters of its id. Raises `allocation_not_found`, `ambiguous_id`."""
    found = find(state, wanted, sees)
    if found is None:
        raise not_found("allocation", wanted)
    return found


def item(state: State, alloc: Alloc) -> AllocationItem:
    """Show an allocation as it stands in a list."""
    return AllocationItem(**_fields(state, alloc))


def _detail(state: State, alloc: Alloc) -> AllocationDetail:
    return AllocationDetail(
        **_fields(state, alloc),
        message=alloc.message,
        container=alloc.container,
        timeline=[TimelineLine(index, stamp(time), event, said) for index, time, event, said in alloc.timeline],
    )


def _fields(state: State, alloc: Alloc) -> dict[str, Any]:
    node = state.nodes.get(alloc.node)
    return {
        "id": alloc.id,
        "job": alloc.job,
        "namespace": alloc.namespace,
        "task": alloc.task,
        "slot": alloc.slot,
        "version": alloc.version,
        "node": node.name if node else alloc.node,
        "status": alloc.status,
        "wanted": alloc.wanted,
        "health": alloc.health,
        "attempt": alloc.attempt,
        "deployment": alloc.deployment,
        "launch": alloc.launch or None,
        "ports": _ports(state, alloc),
        "address": alloc.address,
        "exit_code": alloc.exit_code,
        "oom": alloc.oom,
        "reason": alloc.reason or alloc.why,
        "created_at": stamp(alloc.created_at),
        "started_at": stamp_or_none(alloc.started_at),
        "finished_at": stamp_or_none(alloc.finished_at),
        "create_index": alloc.create_index,
        "modify_index": alloc.modify_index,
    }


def _ports(state: State, alloc: Alloc) -> dict[str, PortMap]:
    if not alloc.ports:
        return {}
    version = state.jobs[alloc.uid].version(alloc.version)
    task = specs.decode(version.spec).task(alloc.task) if version else None
    inside = task.ports if task else {}
    return {name: PortMap(host, inside[name].container if name in inside else None) for name, host in alloc.ports}


@tells(Written, "allocation_not_found", "ambiguous_id")
async def stop(call: Call) -> Answer:
    """Stop an allocation; its slot is filled again."""
    await call.nothing()
    alloc = addressed(call)
    identity = alloc.id

    def decide(state: State) -> Change:
        now = state.allocs.get(identity)
        return intents.stop_alloc(now) if now else NOTHING

    return _written(call, await call.change(job_stream(alloc.namespace, alloc.job), decide), identity)


class SignalBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/allocations/:id/signal`."""

    signal: SignalName


@tells(
    Written,
    "allocation_not_found",
    "ambiguous_id",
    "allocation_over",
    "allocation_stopping",
    "allocation_not_running",
)
async def restart(call: Call) -> Answer:
    """Begin an allocation anew where it is: its node and its place stay, and its health starts anew."""
    await call.nothing()
    return await _wish(call, on.restart_alloc)


@tells(
    Written,
    "allocation_not_found",
    "ambiguous_id",
    "allocation_over",
    "allocation_stopping",
    "allocation_not_running",
    "too_many_signals",
    body=SignalBody,
)
async def signal(call: Call) -> Answer:
    """Send a signal to what runs in an allocation: once, or not at all; its timeline tells which."""
    asked = await call.body(SignalBody)
    return await _wish(call, lambda alloc: on.signal_alloc(alloc, asked.signal))


async def _wish(call: Call, decide: Callable[[Alloc], Change]) -> Answer:
    alloc = addressed(call)

    def decided(state: State) -> Change:
        return decide(needed(state, alloc.id, call.sees))

    return _written(call, await call.change(job_stream(alloc.namespace, alloc.job), decided), alloc.id)


async def written(call: Call, done: Done) -> Answer:
    """Say again where what was asked of an allocation stands."""
    named = next((event.alloc for event in done.events if isinstance(event, _ASKED)), "")
    return _written(call, done, named or addressed(call).id)


def addressed(call: Call) -> Alloc:
    """Find the allocation that a call is about, for a caller who may do to it what it asks."""
    wanted = call.path["id"]
    alloc = needed(call.parts.view.state, wanted, call.sees)
    call.allow(alloc.namespace, alloc.job, absent=not_found("allocation", wanted))
    return alloc


def _written(call: Call, done: Done, identity: str) -> Answer:
    index = done.index or call.parts.view.state.topic_index(alloc_topic(identity))
    return answer(Written(index, id=identity, warnings=call.parts.doubts()), index=index)
