"""Volumes that are a replica's own: its slot goes back to the node that keeps them, and to no other."""

from __future__ import annotations

from typing import Final

from heroctl.domain import spec as specs
from heroctl.domain.records import Job
from heroctl.domain.state import State
from reconciler.planner.filters import full, own_volumes, unfit
from reconciler.planner.picker import Picker
from reconciler.planner.place import Fleet

ASUNDER: Final = "-"  # no node: its volumes are kept by several


def kept_on(state: State, job: Job, task: specs.Task, slot: int) -> dict[str, str]:
    """Give the volumes of a slot that are kept somewhere, each with its node."""
    if not task.volumes:
        return {}
    found = {volume: state.volume_of(volume, job.name, task.name, slot) for volume in own_volumes(task, job.namespace)}
    return {volume: node for volume, node in found.items() if node is not None}


def bound_to(state: State, job: Job, task: specs.Task, slot: int) -> str:
    """Name the only node that will do for a slot; "": any."""
    nodes = set(kept_on(state, job, task, slot).values())
    return "" if not nodes else nodes.pop() if len(nodes) == 1 else ASUNDER


def why_waiting(state: State, fleet: Fleet, picker: Picker, kept: dict[str, str]) -> str:
    """Say what keeps a slot from the node of its volumes."""
    where = {node: state.nodes[node].name for node in kept.values() if node in state.nodes}
    parts = [f"volume {volume.rpartition('/')[2]} is on {where.get(node, node)}" for volume, node in kept.items()]
    if len(where) == 1:
        room = fleet.rooms[next(iter(where))]
        missing = unfit(room.node, picker.ask) or full(room, picker.ask)
        parts.append(missing or "closed to this job for now")
    return f"volume_on_node: {', '.join(parts)}"
