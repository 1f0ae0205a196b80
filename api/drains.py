"""Emptying a node: what would become of all that is on it, the start of it, and its end before its time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from api import nodes
from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.plan import NodeShare
from api.wire import Written
from api.wire_cluster import NodeDrain
from api.write import Done
from heroctl.domain.errors import Invalid, Problem, Unavailable, not_found
from heroctl.domain.events import Event, NodeDrainStarted
from heroctl.domain.intents import drains as intents
from heroctl.domain.intents.change import node_stream
from heroctl.domain.records import Node
from reconciler.planner.evacuation import Departure, Why, evacuation

USUAL: Final = 3600  # seconds until the deadline where none is said
LONGEST: Final = 365 * 24 * 3600


class NewDrain(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/nodes/:id/drain`. Without a deadline: an hour; null: none; 0: all is stopped at once.

    `ignore_system`: what system jobs have there stays. `dry_run`: say what it would do, and do nothing.
    """

    deadline_seconds: Annotated[int, Meta(ge=0, le=LONGEST)] | UnsetType | None = UNSET
    ignore_system: bool = False
    dry_run: bool = False

    @property
    def seconds(self) -> int | None:
        """The deadline, or that which is usual."""
        return USUAL if isinstance(self.deadline_seconds, UnsetType) else self.deadline_seconds


class Leaving(Struct, frozen=True):
    """Replicas of a task that are to leave: to which nodes they go, and how many find no other place, and why.

    `why`: `no_room`; `volume`: what they write to is on this node; `batch`: they may run to their end or the deadline;
    `system`: they have no other node, and are stopped last; `not_looked_at`: there was too much to look at.
    """

    job: str
    namespace: str
    task: str
    replicas: int
    nodes: list[NodeShare]
    stays: int
    why: Why
    reasons: tuple[str, ...]


class Draining(Struct, frozen=True):
    """What becomes of what is on a node: `moves` find a place elsewhere, `stays` do not before the deadline.

    `jobs` lists them by task, as far as the caller may see them. A drain is over when the node's `drain` is null.
    """

    id: str
    index: int
    dry_run: bool
    name: str | UnsetType = UNSET
    drain: NodeDrain | None = None
    replicas: int = 0
    moves: int = 0
    stays: int = 0
    jobs: list[Leaving] = []
    warnings: list[Problem] = []


@tells(Draining, "node_not_found", "ambiguous_id", "busy", body=NewDrain)
async def drain(call: Call) -> Answer:
    """Have all that runs on a node leave it, and nothing more come. Asked again, it gets a new deadline.

    Replicas move as their tasks say, each started elsewhere before it is stopped here. The answer tells what finds a
    place elsewhere and what does not; with `dry_run` it does no more than that.
    """
    wanted = await call.body(NewDrain)
    node = nodes.asked(call)
    change = intents.drain_node(node, wanted.seconds, ignore_system=wanted.ignore_system)
    left, warnings = await _left(call, node, change.events, wanted)
    if wanted.dry_run:
        return _shown(call, node, left, warnings, index=call.parts.view.state.index, dry_run=True)

    done = await call.change(
        node_stream(node.id),
        lambda state: intents.drain_node(
            nodes.need(state, node.id, call.sees), wanted.seconds, ignore_system=wanted.ignore_system
        ),
    )
    return _shown(call, node, left, warnings + call.parts.doubts(), index=done.index)


async def drained(call: Call, done: Done) -> Answer:
    """Say again what becomes of a node, as it is now; of one that was removed since, nothing is left to say."""
    wanted = await call.body(NewDrain)
    identity = next((event.node for event in done.events if isinstance(event, NodeDrainStarted)), "")
    node = call.parts.view.state.nodes.get(identity)
    call.allow(node.name if node else identity, absent=not_found("node", identity))
    if node is None:
        return answer(Draining(identity, done.index, dry_run=False), index=done.index)
    left, warnings = await _left(call, node, done.events, wanted)
    return _shown(call, node, left, warnings + call.parts.doubts(), index=done.index)


async def _left(
    call: Call, node: Node, events: Sequence[Event], wanted: NewDrain
) -> tuple[list[Departure], list[Problem]]:
    """Look ahead. That too many do so at once keeps nobody from emptying a node."""
    now = int(call.parts.clock() * 1000)
    running = evacuation(call.parts.view.state, node.id, events, now, ignore_system=wanted.ignore_system)
    try:
        left = await call.parts.aside.do(running)
    except Unavailable:
        if wanted.dry_run:
            raise
        return [], [Problem("", "not_looked_at", "too many ask the same: what finds a place elsewhere is not known")]
    return left, list(_doubts(node, left, wanted))


def _doubts(node: Node, left: list[Departure], wanted: NewDrain) -> Iterable[Problem]:
    then = "for as long as the drain lasts" if wanted.seconds is None else "until the deadline, and are then stopped"
    for why, said in _SAID.items():
        count = sum(each.stays for each in left if each.why == why)
        if count:
            replicas = f"{count} replica{'' if count == 1 else 's'}"
            yield Problem("", why, f"{replicas} {said.format(then=then, one='s' if count == 1 else '')}")
    if node.up is False:
        message = "the node is down: what it holds is known to be gone only when it is back, or removed"
        yield Problem("", "node_down", message)


_SAID: Final = {
    "no_room": "fit{one} nowhere else: such stay {then}",
    "volume": "write{one} to a volume of this node: such stay {then}",
    "batch": "of batch jobs may run to the end: such stay {then}",
    "not_looked_at": "could not be looked at: there is too much",
}


def _shown(
    call: Call, node: Node, left: list[Departure], warnings: list[Problem], *, index: int, dry_run: bool = False
) -> Answer:
    state = call.parts.view.state
    now = state.nodes.get(node.id, node)
    replicas, stays = sum(each.replicas for each in left), sum(each.stays for each in left)
    shown = Draining(
        id=node.id,
        index=index,
        dry_run=dry_run,
        name=node.name,
        drain=nodes.drain_of(state, now),
        replicas=replicas,
        moves=replicas - stays,
        stays=stays,
        jobs=list(_jobs(call, left)),
        warnings=warnings,
    )
    return answer(shown, index=index)


def _jobs(call: Call, left: list[Departure]) -> Iterable[Leaving]:
    state = call.parts.view.state
    names = {node.id: node.name for node in state.nodes.values()}
    for each in left:
        job = state.jobs.get(each.uid)
        if job is not None and call.principal.allows("job:read", job.namespace, job.name):
            to = [NodeShare(names.get(node, node), replicas) for node, replicas in each.nodes.items()]
            yield Leaving(job.name, job.namespace, each.task, each.replicas, to, each.stays, each.why, each.reasons)


@tells(Written, "node_not_found", "ambiguous_id", "invalid_eligible")
async def cancel(call: Call) -> Answer:
    """Let stay on a node what has not left it; new allocations may come to it again, unless `?eligible=false`."""
    await call.nothing()
    given = call.args.get("eligible", "true")
    if given not in ("true", "false"):
        problem = Problem("eligible", "invalid_eligible", "expected true or false")
        raise Invalid("invalid_eligible", f"eligible: {problem.message}", details=(problem,))
    return await nodes.write(call, lambda node: intents.cancel_drain(node, eligible=given == "true"))
