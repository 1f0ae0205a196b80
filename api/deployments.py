"""Deployments: how the versions of jobs are rolled out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, NamedTuple

from msgspec import Meta, Struct

from api.allocations import SHORTEST_PREFIX, Sees, hidden, knows_of, one_of
from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.reads import A_SECOND, Query, Reading
from api.wire import (
    DeploymentDetail,
    DeploymentItem,
    TaskRollout,
    TrafficShare,
    Written,
    encode,
    stamp,
    stamp_or_none,
)
from api.world import Sight
from api.write import Done
from heroctl.domain import spec as specs
from heroctl.domain.errors import not_found
from heroctl.domain.events import (
    DeploymentFailRequested,
    DeploymentPaused,
    DeploymentPromoted,
    DeploymentResumed,
)
from heroctl.domain.intents import deployments as intents
from heroctl.domain.intents.change import Change, job_stream
from heroctl.domain.records import Alloc, Deployment, Job
from heroctl.domain.state import State
from heroctl.domain.topics import DEPLOYMENTS, deployment_topic, job_deployments_topic
from heroctl.domain.traffic import Share, traffic

_PROMOTED: Final = frozenset({"canary", "blue-green"})  # strategies that wait for a promotion
_STEERED: Final = (DeploymentPromoted, DeploymentPaused, DeploymentResumed, DeploymentFailRequested)
_REFUSED: Final = ("deployment_not_found", "ambiguous_id", "deployment_over", "no_coordinator")


class Promote(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/deployments/:id/promote`. `step`: a canary only as far as its next share of the traffic."""

    step: bool = False


class Fail(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/deployments/:id/fail`."""

    reason: Annotated[str, Meta(max_length=1000)] = ""


class Steered(NamedTuple):
    """The deployment that a write is about."""

    id: str
    namespace: str
    job: str


@tells(list[DeploymentItem])
def listing(world: Sight, query: Query) -> Reading:
    """Deployments, newest first; `?job=`, `?namespace=`, `?status=`."""
    known = "job" in query.args and knows_of(world.state, query)
    topic = job_deployments_topic(query.args["job"]) if known else DEPLOYMENTS
    return Reading(topic, lambda: _list(world, query))


def _list(world: Sight, query: Query) -> bytes:
    sees = query.sees
    chosen = [
        deployment
        for deployment in world.state.deployments.values()
        if sees(deployment.namespace, deployment.job)
        and query.passes("job", deployment.job)
        and query.passes("namespace", deployment.namespace)
        and query.passes("status", deployment.status)
    ]
    chosen.sort(key=lambda deployment: -deployment.create_index)
    return encode([DeploymentItem(**_fields(world.state, deployment)) for deployment in chosen])


@tells(DeploymentDetail, "deployment_not_found", "ambiguous_id")
def detail(world: Sight, query: Query) -> Reading:
    """One deployment, by id or a prefix of it, with the traffic that each version has now."""
    wanted, sees = query.path["id"], query.sees
    found = find(world.state, wanted, sees)
    topic = deployment_topic(found.id if found else hidden(wanted, world.state.deployments))

    def show() -> bytes:
        return encode(_detail(world.state, _need(world.state, found.id if found else wanted, sees)))

    return Reading(topic, show, fresh=A_SECOND)  # the old replicas, which have their part of the traffic, are of others


def find(state: State, wanted: str, sees: Sees) -> Deployment | None:
    """Find a deployment that may be seen by its id, or by a prefix of at least 4 that no other such one has.

    Raises `ambiguous_id`.
    """
    found = state.deployments.get(wanted)
    if found is not None or len(wanted) < SHORTEST_PREFIX:
        return found if found is not None and sees(found.namespace, found.job) else None
    begins = (each for each in state.deployments.values() if each.id.startswith(wanted))
    return one_of([each for each in begins if sees(each.namespace, each.job)], wanted)


def _need(state: State, wanted: str, sees: Sees) -> Deployment:
    found = find(state, wanted, sees)
    if found is None:
        raise not_found("deployment", wanted)
    return found


def _detail(state: State, deployment: Deployment) -> DeploymentDetail:
    job = state.jobs[deployment.uid]
    present = job.current.tasks if job.deployment == deployment.id else ()
    shares = {task.name: [_share(share) for share in traffic(state, job, task.name)] for task in present}
    return DeploymentDetail(**_fields(state, deployment), traffic=shares)


def _share(share: Share) -> TrafficShare:
    return TrafficShare(share.version, share.weight, share.header_value or None)


def _fields(state: State, deployment: Deployment) -> dict[str, Any]:
    job = state.jobs[deployment.uid]
    version = job.version(deployment.version)
    spec = specs.decode(version.spec) if version else None
    weights = _weights(deployment, spec)
    tasks = _tasks(state, deployment, job, spec)
    return {
        "id": deployment.id,
        "job": deployment.job,
        "namespace": deployment.namespace,
        "version": deployment.version,
        "previous_version": deployment.previous_version,
        "status": deployment.status,
        "reason": deployment.reason or deployment.fail_reason,
        "strategy": deployment.strategy,
        "kind": deployment.kind,
        "step": _step(deployment, weights)
        if weights
        else sum(min(task.healthy, task.desired) for task in tasks.values()),
        "steps": len(weights) if weights else sum(task.desired for task in tasks.values()),
        "weights": weights,
        "awaiting": deployment.active and not deployment.promoted and deployment.step_at is not None,
        "promoted": deployment.promoted,
        "promoted_at": stamp_or_none(deployment.promoted_at),
        "revert_of": deployment.revert_of or None,
        "tasks": tasks,
        "deadline": stamp_or_none(_deadline(deployment, spec)),
        "created_at": stamp(deployment.created_at),
        "create_index": deployment.create_index,
        "modify_index": deployment.modify_index,
    }


def _weights(deployment: Deployment, spec: specs.Job | None) -> tuple[int, ...]:
    """Give a canary's shares of the traffic, one after the other: of the task that has most of them."""
    if spec is None or deployment.strategy == "rolling":
        return ()
    return max((canary.weights for canary in _canaries(spec)), key=len, default=())


def _canaries(spec: specs.Job) -> list[specs.Canary]:
    return [task.update.canary or specs.Canary() for task in spec.tasks if task.update.strategy == "canary"]


def _step(deployment: Deployment, weights: tuple[int, ...]) -> int:
    """Say which of its shares a canary has; 0: none yet."""
    if deployment.promoted:
        return len(weights)
    return 0 if deployment.step_at is None else min(deployment.step + 1, len(weights))


def _tasks(state: State, deployment: Deployment, job: Job, spec: specs.Job | None) -> dict[str, TaskRollout]:
    version = job.version(deployment.version)
    if spec is None or version is None:
        return {}
    allocs = [alloc for alloc in state.allocs_of(deployment.uid) if alloc.live and _counts(alloc, deployment, job)]
    tasks = {}
    for task, summary in zip(spec.tasks, version.tasks, strict=True):
        own = [alloc for alloc in allocs if alloc.task == task.name and alloc.content == summary.content]
        promoted = deployment.promoted or task.update.strategy not in _PROMOTED
        tasks[task.name] = _rollout(own, task.count, promoted=promoted)
    return tasks


def _counts(alloc: Alloc, deployment: Deployment, job: Job) -> bool:
    """A deployment brought what it placed, and what was there already, of the same content and not outdated since."""
    return alloc.deployment == deployment.id or job.renewed < alloc.create_index < deployment.create_index


def _rollout(allocs: list[Alloc], desired: int, *, promoted: bool) -> TaskRollout:
    return TaskRollout(
        desired=desired,
        placed=len(allocs),
        healthy=sum(alloc.health == "healthy" for alloc in allocs),
        unhealthy=sum(alloc.health == "unhealthy" for alloc in allocs),
        canaries=0 if promoted else len(allocs),
        promoted=promoted,
    )


def _deadline(deployment: Deployment, spec: specs.Job | None) -> int | None:
    """When it fails unless another replica becomes healthy before. No clock runs while somebody has to decide."""
    if spec is None or deployment.status != "running":
        return None
    since = deployment.progress_at
    if deployment.step_at is not None and not deployment.promoted:  # a share lasts as long as it is to
        since = max(since, deployment.step_at + max((canary.pause.ms for canary in _canaries(spec)), default=0))
    return since + max(task.update.progress_deadline.ms for task in spec.tasks)


# ── writes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@tells(Written, *_REFUSED, "not_promotable", "not_ready", body=Promote)
async def promote(call: Call) -> Answer:
    """Let the new version of a deployment follow the old one: everywhere, or as far as the next share of the traffic.

    Promoted already: nothing is done.
    """
    wanted = await call.body(Promote)
    return await _write(call, lambda state, deployment: _promoted(state, deployment, step=wanted.step))


def _promoted(state: State, deployment: Deployment, *, step: bool) -> Change:
    version = state.jobs[deployment.uid].version(deployment.version)
    weights = _weights(deployment, specs.decode(version.spec) if version else None)
    return intents.promote(deployment, step=step and deployment.step + 1 < len(weights))


@tells(Written, *_REFUSED)
async def pause(call: Call) -> Answer:
    """Let a deployment stand still: nothing is placed, stopped or failed by it; lost replicas are still replaced."""
    await call.nothing()
    return await _write(call, lambda _, deployment: intents.pause(deployment))


@tells(Written, *_REFUSED)
async def resume(call: Call) -> Answer:
    """Let a paused deployment go on. Its clocks begin anew."""
    await call.nothing()
    return await _write(call, lambda _, deployment: intents.resume(deployment))


@tells(Written, *_REFUSED, body=Fail)
async def fail(call: Call) -> Answer:
    """End a deployment as failed, with the way back that its job has: `auto_revert`."""
    wanted = await call.body(Fail)
    return await _write(call, lambda _, deployment: intents.fail(deployment, wanted.reason))


async def _write(call: Call, decide: Callable[[State, Deployment], Change]) -> Answer:
    asked = _asked(call)
    call.parts.need_coordinator()

    def decided(state: State) -> Change:
        now = state.deployments.get(asked.id)
        if now is None:
            raise not_found("deployment", asked.id)
        return decide(state, now)

    return _written(call, await call.change(job_stream(asked.namespace, asked.job), decided), asked)


async def written(call: Call, done: Done) -> Answer:
    """Say again where a change of a deployment stands."""
    about = next((event for event in done.events if isinstance(event, _STEERED)), None)
    return _written(call, done, Steered(about.deployment, about.namespace, about.name) if about else _asked(call))


def _asked(call: Call) -> Steered:
    """Find the deployment that a call is about, for a caller who may do to it what it asks."""
    wanted = call.path["id"]
    found = _need(call.parts.view.state, wanted, call.sees)
    call.allow(found.namespace, found.job, absent=not_found("deployment", wanted))
    return Steered(found.id, found.namespace, found.job)


def _written(call: Call, done: Done, about: Steered) -> Answer:
    index = done.index or call.parts.view.state.topic_index(deployment_topic(about.id))
    body = Written(index, name=about.job, namespace=about.namespace, id=about.id, warnings=call.parts.doubts())
    return answer(body, index=index)
