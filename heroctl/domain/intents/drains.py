"""Intents of those who run nodes: emptying one, and letting go of what it holds and nobody named."""

from __future__ import annotations

from collections.abc import Collection

from heroctl.domain.errors import Conflict, not_found
from heroctl.domain.events import NodeContainersReleased, NodeDrainCancelled, NodeDrainStarted
from heroctl.domain.intents.change import NOTHING, Change, node_stream
from heroctl.domain.records import Node


def drain_node(node: Node, seconds: int | None, *, ignore_system: bool) -> Change:
    """Have all that runs on a node leave it, and nothing more come; asked again: with another deadline."""
    return Change((NodeDrainStarted(node.id, node.name, seconds, ignore_system),), (node_stream(node.id),))


def cancel_drain(node: Node, *, eligible: bool) -> Change:
    """Let stay on a node what has not left it; it is not drained: nothing."""
    if node.drain is None:
        return NOTHING
    return Change((NodeDrainCancelled(node.id, node.name, eligible),), (node_stream(node.id),))


def check_not_draining(node: Node) -> None:
    """Refuse to let new allocations come to a node that is being emptied."""
    if node.drain is not None:
        raise Conflict("node_draining", f"node '{node.name}' is being drained: cancel that first")


def release_containers(node: Node, containers: Collection[str] | None) -> Change:
    """Let a node's agent stop unknown containers, all of them where none is named; released already: nothing."""
    wanted = node.unknown if containers is None else containers
    for container in wanted:
        if container not in node.unknown:
            raise not_found("container", container)
    fresh = tuple(sorted(set(wanted).difference(node.released)))
    if not fresh:
        return NOTHING
    return Change((NodeContainersReleased(node.id, node.name, fresh),), (node_stream(node.id),))
