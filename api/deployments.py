"""Deployments: how the versions of jobs are rolled out."""

from __future__ import annotations

from api.allocations import SHORTEST_PREFIX, Sees, hidden, knows_of, one_of
from api.contract import tells
from api.reads import Query, Reading
from api.wire import DeploymentItem, TaskRollout, encode, stamp, stamp_or_none
from api.world import Sight
from heroctl.domain import spec as specs
from heroctl.domain.errors import not_found
from heroctl.domain.state import (
    DEPLOYMENTS,
    Alloc,
    Deployment,
    State,
    Version,
    deployment_topic,
    job_deployments_topic,
)


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
    return encode([_show(world.state, deployment) for deployment in chosen])


@tells(DeploymentItem, "deployment_not_found", "ambiguous_id")
def detail(world: Sight, query: Query) -> Reading:
    """One deployment, by id or a prefix of it."""
    wanted, sees = query.path["id"], query.sees
    found = find(world.state, wanted, sees)
    topic = deployment_topic(found.id if found else hidden(wanted, world.state.deployments))
    return Reading(topic, lambda: encode(_show(world.state, _need(world.state, found.id if found else wanted, sees))))


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


def _show(state: State, deployment: Deployment) -> DeploymentItem:
    version = state.jobs[deployment.uid].version(deployment.version)
    tasks = _tasks(state, deployment, version) if version else {}
    return DeploymentItem(
        id=deployment.id,
        job=deployment.job,
        namespace=deployment.namespace,
        version=deployment.version,
        previous_version=deployment.previous_version,
        status=deployment.status,
        reason=deployment.reason,
        strategy=deployment.strategy,
        step=sum(min(task.healthy, task.desired) for task in tasks.values()),
        steps=sum(task.desired for task in tasks.values()),
        tasks=tasks,
        deadline=stamp_or_none(_deadline(deployment, version)),
        created_at=stamp(deployment.created_at),
        create_index=deployment.create_index,
        modify_index=deployment.modify_index,
    )


def _tasks(state: State, deployment: Deployment, version: Version) -> dict[str, TaskRollout]:
    allocs = [alloc for alloc in state.allocs_of(deployment.uid) if alloc.live]
    return {
        task.name: _rollout(
            [alloc for alloc in allocs if _counts(alloc, deployment, task.name, task.content)], task.count
        )
        for task in version.tasks
    }


def _counts(alloc: Alloc, deployment: Deployment, task: str, content: str) -> bool:
    """A deployment brought what it placed, and what was there already with the same content."""
    same = alloc.content == content and alloc.create_index < deployment.create_index
    return alloc.task == task and (alloc.deployment == deployment.id or same)


def _rollout(allocs: list[Alloc], desired: int) -> TaskRollout:
    return TaskRollout(
        desired=desired,
        placed=len(allocs),
        healthy=sum(alloc.health == "healthy" for alloc in allocs),
        unhealthy=sum(alloc.health == "unhealthy" for alloc in allocs),
        canaries=0,
        promoted=False,
    )


def _deadline(deployment: Deployment, version: Version | None) -> int | None:
    """When it fails unless another replica becomes healthy before."""
    if version is None or not deployment.active:
        return None
    patience = max(task.update.progress_deadline.ms for task in specs.decode(version.spec).tasks)
    return deployment.progress_at + patience
