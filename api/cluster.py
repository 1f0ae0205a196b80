"""The cluster: how it is, and which processes it is made of."""

from __future__ import annotations

from collections import Counter
from typing import Final

from api.contract import tells
from api.reads import A_SECOND, Query, Reading
from api.wire import encode
from api.wire_cluster import Check, ClusterStatus, NodeCounts, Peer
from api.world import World
from eventstore.view import STALE_AFTER, View
from heroctl.domain.topics import CLUSTER, PEERS

_MASS: Final = "so many nodes are down that nothing is given up"
_HELD: Final = "an operator wants nothing given up that is on nodes which are down"
SKEWED: Final = 2_000  # ms: of two clocks, each so far off, one may find what the other signed not yet good


@tells(ClusterStatus)
def status(world: World, query: Query) -> Reading:  # noqa: ARG001 - a reader's signature
    """How the cluster is."""
    return Reading(CLUSTER, lambda: encode(_status(world)), fresh=A_SECOND)


def _status(world: World) -> ClusterStatus:
    state, pulse = world.state, world.pulse
    checks = _checks(world)
    counts = Counter(node.status for node in state.nodes.values())
    return ClusterStatus(
        health=_health(checks),
        coordinator=state.coordinator if pulse.coordinated() else None,
        epoch=state.epoch,
        members=len(pulse.members),
        index=state.index,
        version=world.release,
        level=state.level,
        incarnation=state.incarnation,
        brake=state.brake,
        brake_by="" if not state.brake else "operator" if state.brake_wanted is True else "coordinator",
        nodes=NodeCounts(counts["ready"], counts["down"], counts["draining"]),
        checks=checks,
    )


def _health(checks: list[Check]) -> str:
    if all(check.ok for check in checks):
        return "ok"
    return "down" if any(check.name == "log" and not check.ok for check in checks) else "degraded"


def _checks(world: World) -> list[Check]:
    state, pulse = world.state, world.pulse
    silent = world.view.stale_seconds
    down = sorted(node.name for node in state.nodes.values() if node.status == "down")
    return [
        _check("log", silent <= STALE_AFTER, f"the log has not answered for {silent:.0f} s"),
        _check("events", world.view.sound, _newer(world.view)),
        _check("level", not (old := _outdated(world)), f"of an older release than the log: {', '.join(old[:10])}"),
        _check("coordinator", pulse.coordinated(), "no reconciler coordinates"),
        _check("redis", pulse.redis, "Redis does not answer: agents are told of changes more slowly"),
        _check("disk", not world.disk.low, "the database's disk is nearly full: what asks for more is refused"),
        _check("clocks", not (off := _off(world)), f"by the database's clock: {', '.join(off[:10])}"),
        _check("nodes", not down, f"down: {', '.join(down[:10])}"),
        _check("brake", not state.brake, _HELD if state.brake_wanted is True else _MASS),
    ]


def _off(world: World) -> list[str]:
    """Say whose clock is how far off. Of nodes that are down nobody knows the time."""
    pulse = world.pulse
    skews = [(present.member.id, present.skew) for present in pulse.members]
    nodes = sorted(world.state.nodes.values(), key=lambda node: node.name)
    skews += [(f"node {node.name}", pulse.skew_of(node.id)) for node in nodes if node.status != "down"]
    return [
        f"{name} is {abs(skew) / 1000:.0f} s {'ahead' if skew > 0 else 'behind'}"
        for name, skew in skews
        if skew is not None and abs(skew) >= SKEWED
    ]


def _outdated(world: World) -> list[str]:
    return sorted(each.member.id for each in world.pulse.members if each.level < world.state.level)


def _newer(view: View) -> str:
    if view.outdated:
        return f"the log is at level {view.state.level}, and this process is of a release that knows {view.level}"
    return f"event {view.failed} is of a newer release"


def _check(name: str, ok: bool, otherwise: str) -> Check:  # noqa: FBT001 - a verdict
    return Check(name, ok, "" if ok else otherwise)


@tells(list[Peer])
def peers(world: World, query: Query) -> Reading:  # noqa: ARG001 - a reader's signature
    """The processes of the control plane, those that live."""
    return Reading(PEERS, lambda: encode(_peers(world)), fresh=A_SECOND)


def _peers(world: World) -> list[Peer]:
    coordinator = world.state.coordinator if world.pulse.coordinated() else ""
    return [
        Peer(
            id=present.member.id,
            role=present.member.role,
            address=present.member.address,
            version=present.member.version,
            level=present.level,
            outdated=present.level < world.state.level,
            coordinator=present.member.id == coordinator,
            index=present.index,
            lag=max(world.state.index - present.index, 0),
            last_seen_s=int(present.seconds),
            clock_skew_ms=present.skew,
        )
        for present in sorted(world.pulse.members, key=lambda present: (present.member.role, present.member.id))
    ]
