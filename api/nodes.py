"""Nodes: what they look like, and what operators may do with them. What their agents say is in `agent`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import UNSET, Struct, UnsetType

from api.allocations import SHORTEST_PREFIX, hidden, one_of
from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.reads import A_SECOND, Query, Reading
from api.wire import Written, encode, stamp, stamp_or_none
from api.wire_cluster import Amount, DriverState, NodeDrain, NodeDrained, NodeItem
from api.world import Sight
from api.write import Done
from heroctl.domain.draining import remaining
from heroctl.domain.errors import not_found
from heroctl.domain.events import NodeContainersReleased, NodeDrainStarted, NodeEligibilitySet
from heroctl.domain.intents import drains
from heroctl.domain.intents import nodes as intents
from heroctl.domain.intents.change import Change, node_stream
from heroctl.domain.records import Drained, Node, Usage
from heroctl.domain.state import State
from heroctl.domain.topics import NODES, node_topic

Sees = Callable[[str], bool]  # by name
_CHANGES: Final = (NodeEligibilitySet, NodeDrainStarted, NodeContainersReleased)


class Eligibility(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/nodes/:id/eligibility`."""

    eligible: bool


class Release(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/nodes/:id/unknown/release`. Without a list: all that are unknown."""

    containers: list[str] | None = None


@tells(list[NodeItem])
def listing(world: Sight, query: Query) -> Reading:
    """All nodes by name; `?status=`."""
    return Reading(NODES, lambda: _list(world, query), fresh=A_SECOND)


def _list(world: Sight, query: Query) -> bytes:
    state, sees = world.state, query.sees
    chosen = (state.nodes[node] for name, node in sorted(state.node_names.items()) if sees(name))
    return encode([_show(world, node) for node in chosen if query.passes("status", node.status)])


@tells(NodeItem, "node_not_found", "ambiguous_id")
def detail(world: Sight, query: Query) -> Reading:
    """One node, by id, name or a prefix of its id."""
    wanted, sees = query.path["id"], query.sees
    found = find(world.state, wanted, sees)
    full = found.id if found else wanted
    topic = node_topic(full if found else hidden(wanted, world.state.nodes))
    return Reading(topic, lambda: encode(_show(world, need(world.state, full, sees))), fresh=A_SECOND)


def find(state: State, wanted: str, sees: Sees) -> Node | None:
    """Find a node that may be seen by id, name, or a prefix of at least 4 that no other such one's id has.

    Raises `ambiguous_id`.
    """
    found = state.nodes.get(state.node_names.get(wanted, wanted))
    if found is not None or len(wanted) < SHORTEST_PREFIX:
        return found if found is not None and sees(found.name) else None
    begins = (node for node in state.nodes.values() if node.id.startswith(wanted))
    return one_of([node for node in begins if sees(node.name)], wanted)


def need(state: State, wanted: str, sees: Sees) -> Node:
    """As `find`, and refuse where there is none."""
    found = find(state, wanted, sees)
    if found is None:
        raise not_found("node", wanted)
    return found


def _show(world: Sight, node: Node) -> NodeItem:
    reserved = world.state.usage.get(node.id, Usage())
    has, used = node.capacity, world.pulse.stats_of(node.id)
    return NodeItem(
        id=node.id,
        name=node.name,
        status=node.status,
        eligibility="eligible" if node.eligible else "ineligible",
        drain=drain_of(world.state, node),
        drained=_drained(node.drained),
        cpu=Amount(has.cpu, reserved.cpu / 1000, used.get("cpu", 0)),
        ram=Amount(has.memory, reserved.memory, used.get("memory", 0)),
        disk=Amount(has.disk, reserved.disk, used.get("disk", 0)),
        labels=node.labels,
        attributes=node.attributes,
        drivers={name: DriverState(driver.healthy, driver.version) for name, driver in sorted(node.drivers.items())},
        address=node.address,
        version=node.version,
        allocations=reserved.allocs,
        unknown_containers=node.unknown,
        released_containers=node.released,
        last_seen_s=world.pulse.silence(node.id),
        create_index=node.create_index,
        modify_index=node.modify_index,
    )


def drain_of(state: State, node: Node) -> NodeDrain | None:
    """Show how far a drain is."""
    drain = node.drain
    if drain is None:
        return None
    return NodeDrain(
        deadline=stamp_or_none(drain.deadline),
        remaining=remaining(state, node.id),
        started_at=stamp(drain.started_at),
        moved=drain.moved,
        stopped=drain.stopped,
        ignore_system=drain.ignore_system,
    )


def _drained(last: Drained | None) -> NodeDrained | None:
    if last is None:
        return None
    return NodeDrained(stamp(last.started_at), stamp(last.finished_at), last.moved, last.stopped)


@tells(Written, "node_not_found", "ambiguous_id", "node_draining", body=Eligibility)
async def eligibility(call: Call) -> Answer:
    """Say whether new allocations may be placed on a node."""
    wanted = await call.body(Eligibility)
    return await write(call, lambda node: intents.set_eligibility(node, eligible=wanted.eligible))


@tells(Written, "node_not_found", "ambiguous_id")
async def remove(call: Call) -> Answer:
    """Remove a node and all it held; its agent stops everything when it hears of it."""
    return await write(call, intents.remove_node)


@tells(Written, "node_not_found", "container_not_found", "ambiguous_id", body=Release)
async def release(call: Call) -> Answer:
    """Let a node's agent stop containers that it holds and that nobody named: some of them, or all."""
    wanted = await call.body(Release)
    return await write(call, lambda node: drains.release_containers(node, wanted.containers))


async def write(call: Call, decide: Callable[[Node], Change]) -> Answer:
    """Change the node that a call is about, and say where it stands."""
    node = asked(call)
    done = await call.change(node_stream(node.id), lambda state: decide(need(state, node.id, call.sees)))
    return _answered(call, done, node.id, node.name)


async def written(call: Call, done: Done) -> Answer:
    """Say again where a change of a node stands; a node that has been removed since has no name any more."""
    state = call.parts.view.state
    named = next((event.node for event in done.events if isinstance(event, _CHANGES)), "")
    identity = named or asked(call).id
    node = state.nodes.get(identity)
    call.allow(node.name if node else identity, absent=not_found("node", identity))
    return _answered(call, done, identity, node.name if node else UNSET)


def asked(call: Call) -> Node:
    """Find the node that a call is about, for a caller who may do to it what it asks."""
    wanted = call.path["id"]
    node = need(call.parts.view.state, wanted, call.sees)
    call.allow(node.name, absent=not_found("node", wanted))
    return node


def _answered(call: Call, done: Done, node: str, name: str | UnsetType) -> Answer:
    index = done.index or call.parts.view.state.topic_index(node_topic(node))
    return answer(Written(index, id=node, name=name, warnings=call.parts.doubts()), index=index)
