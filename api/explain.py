"""Why a job is, or is not, running: as the planner sees it, told for people and for programs."""

from __future__ import annotations

from msgspec import Struct

from api.contract import tells
from api.jobs import of_one
from api.reads import A_SECOND, Query, Reading
from api.wire import encode, stamp_or_none
from api.world import World
from heroctl.domain.intents.jobs import find_job
from heroctl.domain.lifecycle import AllocationStatus, DeploymentStatus, Health, JobStatus
from heroctl.domain.records import Alloc
from heroctl.domain.state import State, job_status
from reconciler.planner.explain import SlotCase, Standing, explain


class ReplicaNow(Struct, frozen=True, gc=False):
    """An allocation in a slot, and what its agent said of it last."""

    id: str
    version: int
    node: str
    status: AllocationStatus
    health: Health
    attempt: int
    restarts: int
    exit_code: int | None
    oom: bool
    reason: str
    message: str


class ExplainedSlot(Struct, frozen=True, gc=False):
    """One slot. `alloc` has the wanted version, `old` another; `last`: who filled it before, where nobody does.

    `lacking`: what nodes lack, and how many of them, where the slot's replica fits nowhere.
    """

    task: str
    slot: int
    standing: Standing
    words: str
    alloc: ReplicaNow | None
    old: ReplicaNow | None
    last: ReplicaNow | None
    retry_at: str | None
    lacking: dict[str, int] | None


class ExplainedDeployment(Struct, frozen=True, gc=False):
    """The newest deployment: how it stands, and what it waits for."""

    id: str
    version: int
    status: DeploymentStatus
    words: str


class Explained(Struct, frozen=True, gc=False):
    """A job explained. Slots that are not as they should be come first; of more than 1,000, `left_out` are not shown.

    `nodes`: how many were considered.
    """

    name: str
    namespace: str
    status: JobStatus
    version: int
    summary: str
    deployment: ExplainedDeployment | None
    blocked: tuple[str, ...]
    coordinated: bool
    nodes: int
    slots: list[ExplainedSlot]
    left_out: int


@tells(Explained, "job_not_found")
def show(world: World, query: Query) -> Reading:
    """Tell why a job is, or is not, running: per slot who fills it, what it waits for, and what health said last."""
    topic, make, _ = of_one(query, lambda namespace, name: encode(_explained(world, namespace, name)))
    return Reading(topic, make, A_SECOND)  # spans of time are told, and who is known to coordinate


def _explained(world: World, namespace: str, name: str) -> Explained:
    state = world.state
    job = find_job(state, namespace, name)
    case = explain(state, job, max(int(world.clock() * 1000), state.time), world.fleet)
    deployment = state.deployments.get(job.deployment)
    coordinated = world.pulse.coordinated()
    return Explained(
        name=job.name,
        namespace=job.namespace,
        status=job_status(state, job),
        version=job.current.version,
        summary=case.summary if coordinated else f"{case.summary}; no reconciler coordinates: nothing is decided now",
        deployment=ExplainedDeployment(deployment.id, deployment.version, deployment.status, case.deployment)
        if deployment is not None
        else None,
        blocked=job.blocked,
        coordinated=coordinated,
        nodes=len(state.nodes),
        slots=[_slot(state, slot) for slot in case.slots],
        left_out=case.left_out,
    )


def _slot(state: State, slot: SlotCase) -> ExplainedSlot:
    return ExplainedSlot(
        task=slot.task,
        slot=slot.slot,
        standing=slot.standing,
        words=slot.words,
        alloc=_replica(state, slot.alloc),
        old=_replica(state, slot.old),
        last=_replica(state, slot.last),
        retry_at=stamp_or_none(slot.retry_at),
        lacking=slot.lacking,
    )


def _replica(state: State, alloc: Alloc | None) -> ReplicaNow | None:
    if alloc is None:
        return None
    node = state.nodes.get(alloc.node)
    return ReplicaNow(
        id=alloc.id,
        version=alloc.version,
        node=node.name if node is not None else alloc.node,
        status=alloc.status,
        health=alloc.health,
        attempt=alloc.attempt,
        restarts=alloc.restarts,
        exit_code=alloc.exit_code,
        oom=alloc.oom,
        reason=alloc.reason,
        message=alloc.message,
    )
