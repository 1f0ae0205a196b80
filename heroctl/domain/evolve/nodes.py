"""Folding what concerns nodes."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from heroctl.domain import events as e
from heroctl.domain.events import Event
from heroctl.domain.evolve.allocs import finish, forget_volumes
from heroctl.domain.evolve.touch import Fold, Touch
from heroctl.domain.records import Drain, Drained, Node
from heroctl.domain.services import is_serving
from heroctl.domain.state import State
from heroctl.domain.topics import ACL, CAPACITY, CLUSTER, FLEET, assignment_topic


def _registered(state: State, event: e.NodeRegistered, touch: Touch) -> None:
    node = Node(event.id, event.name, event.credential, touch.index, touch.index)
    state.nodes[node.id] = node
    state.node_names[node.name] = node.id
    state.join_tokens.pop(event.join_token, None)
    touch.node(node.id)
    touch.add(CLUSTER, ACL)


def _change(state: State, node_id: str, touch: Touch, **fields: object) -> Node | None:
    node = state.nodes.get(node_id)
    if node is None:
        return None
    node = replace(node, modify_index=touch.index, **fields)
    state.nodes[node_id] = node
    touch.node(node.id)
    touch.add(FLEET)
    return node


def _session_opened(state: State, event: e.NodeSessionOpened, touch: Touch) -> None:
    changed = _change(
        state,
        event.node,
        touch,
        session=touch.index,
        session_at=touch.time,
        boot_id=event.boot_id,
        capacity=event.capacity,
        drivers=event.drivers,
        address=event.address,
        version=event.version,
        labels=event.labels,
        attributes=event.attributes,
        unknown=(),
    )
    if changed is not None:
        touch.add(CAPACITY, assignment_topic(event.node))


def _unknown_containers(state: State, event: e.NodeUnknownContainers, touch: Touch) -> None:
    node = state.nodes.get(event.node)
    released = tuple(each for each in node.released if each in event.containers) if node else ()
    _change(state, event.node, touch, unknown=event.containers, released=released)


def _containers_released(state: State, event: e.NodeContainersReleased, touch: Touch) -> None:
    node = state.nodes.get(event.node)
    if node is not None:
        released = tuple(sorted({*node.released, *event.containers}))
        _change(state, event.node, touch, released=released)


def _jobs_on(state: State, node: str, touch: Touch) -> None:
    for alloc in state.allocs_on(node):
        touch.job(state.jobs[alloc.uid])


def _services_on(state: State, node: str, touch: Touch) -> None:
    """What a node's replicas offer is there while it is up, and only then."""
    for alloc in state.allocs_on(node):
        if is_serving(alloc):
            touch.services(alloc.namespace, alloc.job)


def _up(state: State, event: e.NodeUp, touch: Touch) -> None:
    node = state.nodes.get(event.node)
    if node is not None and node.up is None:
        state.grown, state.grown_at = touch.index, touch.time
    if _change(state, event.node, touch, up=True, down_at=None, changed=touch.index) is not None:
        _jobs_on(state, event.node, touch)
        _services_on(state, event.node, touch)
        touch.add(CAPACITY, CLUSTER)


def _down(state: State, event: e.NodeDown, touch: Touch) -> None:
    if _change(state, event.node, touch, up=False, down_at=touch.time, changed=touch.index) is not None:
        _jobs_on(state, event.node, touch)
        _services_on(state, event.node, touch)
        touch.add(CLUSTER)


def _eligibility_set(state: State, event: e.NodeEligibilitySet, touch: Touch) -> None:
    if _change(state, event.node, touch, eligible=event.eligible) is not None:
        touch.add(CAPACITY)


def _drain_started(state: State, event: e.NodeDrainStarted, touch: Touch) -> None:
    node = state.nodes.get(event.node)
    if node is None:
        return
    deadline = None if event.seconds is None else touch.time + event.seconds * 1000
    drain = node.drain or Drain(touch.time, deadline, event.ignore_system, touch.index)
    drain = replace(drain, deadline=deadline, ignore_system=event.ignore_system)
    _change(state, event.node, touch, eligible=False, drain=drain)
    _jobs_on(state, event.node, touch)
    touch.add(CLUSTER)


def _drain_cancelled(state: State, event: e.NodeDrainCancelled, touch: Touch) -> None:
    if _change(state, event.node, touch, eligible=event.eligible, drain=None) is not None:
        _jobs_on(state, event.node, touch)
        touch.add(CAPACITY, CLUSTER)


def _drain_finished(state: State, event: e.NodeDrainFinished, touch: Touch) -> None:
    node = state.nodes.get(event.node)
    if node is None or node.drain is None:
        return
    drained = Drained(node.drain.started_at, touch.time, event.moved, event.stopped)
    _change(state, event.node, touch, drain=None, drained=drained)
    touch.add(CLUSTER)


def _removed(state: State, event: e.NodeRemoved, touch: Touch) -> None:
    node = state.nodes.pop(event.node, None)
    if node is None:
        return
    _services_on(state, node.id, touch)
    for alloc in tuple(state.allocs_on(event.node)):
        if alloc.id not in state.allocs:
            continue  # forgotten with its deleted job, when another of it here was found to be the last
        lost = replace(alloc, given_up=True, reason="node_removed", modify_index=touch.index)
        finish(state, lost, touch)
    state.node_names.pop(node.name, None)
    forget_volumes(state, node.id)
    state.usage.pop(event.node, None)
    state.by_node.pop(event.node, None)
    state.removed_nodes[event.node] = touch.index
    touch.node(node.id)
    touch.add(CLUSTER, CAPACITY, FLEET, assignment_topic(event.node))


FOLDS: Final[dict[type[Event], Fold]] = {
    e.NodeRegistered: _registered,
    e.NodeSessionOpened: _session_opened,
    e.NodeUnknownContainers: _unknown_containers,
    e.NodeContainersReleased: _containers_released,
    e.NodeUp: _up,
    e.NodeDown: _down,
    e.NodeEligibilitySet: _eligibility_set,
    e.NodeDrainStarted: _drain_started,
    e.NodeDrainCancelled: _drain_cancelled,
    e.NodeDrainFinished: _drain_finished,
    e.NodeRemoved: _removed,
}
