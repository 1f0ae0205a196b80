"""Jobs: what they look like, and what users may do with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.launch_shapes import LaunchRef
from api.plan import Planned, dry, plan
from api.posted import allowed
from api.reads import Query, Reading
from api.wire import (
    DeploymentRef,
    JobDetail,
    JobItem,
    Judged,
    Submitted,
    TaskState,
    Written,
    encode,
    joined,
    stamp,
    stamp_or_none,
)
from api.world import Sight
from api.write import Done
from heroctl.domain import dependencies
from heroctl.domain import spec as specs
from heroctl.domain.cron import following
from heroctl.domain.errors import Invalid, Problem, not_found
from heroctl.domain.events import JobRestarted, JobSubmitted
from heroctl.domain.ids import deployment_id
from heroctl.domain.intents import jobs as intents
from heroctl.domain.intents.change import Change, job_stream
from heroctl.domain.pinning import missing
from heroctl.domain.records import Job, Version
from heroctl.domain.state import State, job_status
from heroctl.domain.topics import JOBS, job_topic
from heroctl.domain.validate import parse, warnings

Intent = Callable[[State, str, str, int | None], Change]  # on the job of a namespace and a name, with its guard

# ── reads ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@tells(list[JobItem])
def listing(world: Sight, query: Query) -> Reading:
    """All jobs, by namespace and name; `?namespace=`, `?status=`, `?meta=`."""
    return Reading(JOBS, lambda: _list(world, query))


def _list(world: Sight, query: Query) -> bytes:
    state, sees = world.state, query.sees
    chosen = (state.jobs[uid] for _, uid in sorted(state.names.items()))
    return joined(
        [
            world.items.get(job.uid, state.topic_index(job_topic(job.namespace, job.name)), item, state, job)
            for job in chosen
            if query.passes("namespace", job.namespace)
            and sees(job.namespace, job.name)
            and ("status" not in query.args or job_status(state, job) == query.args["status"])
            and ("meta" not in query.args or _has_meta(job, query.args["meta"]))
        ]
    )


def _has_meta(job: Job, wanted: str) -> bool:
    """Tell whether a job's present version has `key=value`, or, as `key`, any value."""
    key, given, value = wanted.partition("=")
    found = specs.decode(job.current.spec).meta.get(key)
    return found is not None and (not given or found == value)


@tells(JobDetail, "job_not_found")
def detail(world: Sight, query: Query) -> Reading:
    """One job, with its spec."""
    state = world.state
    return of_one(query, lambda namespace, name: encode(_detail(state, intents.find_job(state, namespace, name))))


def of_one(query: Query, show: Callable[[str, str], bytes]) -> Reading:
    """Read of one job. One that the asker may not see is a job that is not there, in all that is told of it."""
    namespace, name = query.namespace, query.path["name"]
    if query.sees(namespace, name):
        return Reading(job_topic(namespace, name), lambda: show(namespace, name))
    return Reading(job_topic("", name), lambda: show("", name))


def item(state: State, job: Job) -> JobItem:
    """Show a job as it stands in a list."""
    return JobItem(**_fields(state, job))


def _detail(state: State, job: Job) -> JobDetail:
    stable = job.stable
    return JobDetail(
        **_fields(state, job),
        spec=msgspec.Raw(job.current.spec),
        meta=specs.decode(job.current.spec).meta,
        stable_version=stable.version if stable else None,
    )


def _fields(state: State, job: Job) -> dict[str, Any]:
    deployment = state.deployments.get(job.deployment)
    spec = specs.decode(job.current.spec)
    return {
        "name": job.name,
        "namespace": job.namespace,
        "type": spec.type,
        "status": job_status(state, job),
        "version": job.current.version,
        "priority": spec.priority,
        "tasks": _tasks(state, job, spec),
        "launch": _launch(state, job),
        "next_launch_at": _next_launch(job, spec),
        "deployment": DeploymentRef(deployment.id, deployment.status) if deployment else None,
        "blocked": job.blocked,
        "created_at": stamp(job.created_at),
        "updated_at": stamp(job.updated_at),
        "create_index": job.create_index,
        "modify_index": job.modify_index,
        "spec_index": job.spec_index,
    }


def _launch(state: State, job: Job) -> LaunchRef | None:
    newest = next(reversed(state.launches.get(job.uid, ())), None)
    return LaunchRef(newest.number, newest.status) if newest is not None else None


def _next_launch(job: Job, spec: specs.Job) -> str | None:
    """Say when the clock launches a job next. While nobody coordinates that may have passed: it is launched late."""
    if spec.periodic is None or not job.wanted:
        return None
    return stamp_or_none(following(spec.periodic.cron, spec.periodic.time_zone, job.scheduled))


def _tasks(state: State, job: Job, spec: specs.Job) -> list[TaskState]:
    running: Counter[str] = Counter()
    healthy: Counter[str] = Counter()
    placed: Counter[str] = Counter()  # of a system job, which has as many as there are nodes for it
    for alloc in state.allocs_of(job.uid):
        placed[alloc.task] += alloc.live
        if alloc.status == "running":
            running[alloc.task] += 1
            healthy[alloc.task] += alloc.health == "healthy"
    made = {task.name: task for task in job.current.tasks}
    return [
        TaskState(
            name=task.name,
            driver=task.driver,
            image=task.image,
            digest=made[task.name].image or None,
            secrets=made[task.name].secrets,
            desired=(placed[task.name] if spec.type == "system" else task.count) if job.wanted else 0,
            running=running[task.name],
            healthy=healthy[task.name],
        )
        for task in spec.tasks
    ]


# ── writes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@tells(
    Submitted | Planned,
    "invalid_spec",
    "namespace_not_found",
    "job_not_found",
    "version_not_found",
    "job_exists",
    "index_conflict",
    "job_type_fixed",
    body=specs.Job,
    status=(200, 201),
)
async def submit(call: Call) -> Answer:
    """Make a job so: 201 where its name is new, 200 where it changed or was so already.

    `?dry_run=true`: tell what that would do, and do nothing; see `/v1/jobs/plan`.
    """
    if dry(call):
        return await plan(call)
    spec = await allowed(call)
    guard = call.number("check_index")
    actor = call.principal.actor
    looked = await call.parts.images.look(spec)
    done = await call.change(
        job_stream(spec.namespace, spec.name),
        lambda state: intents.submit_job(state, spec, actor, guard, looked.digests),
    )
    return became(call, spec.namespace, spec.name, done, looked.doubts)


async def submitted(call: Call, done: Done) -> Answer:
    """Say again what became of a submit."""
    spec = await allowed(call)
    return became(call, spec.namespace, spec.name, done)


def became(call: Call, namespace: str, name: str, done: Done, doubts: Sequence[Problem] = ()) -> Answer:
    """Say what was made of a job: the version that it has, and what rolls that out."""
    state = call.parts.view.state
    made = next((each for each in done.events if isinstance(each, JobSubmitted | JobRestarted)), None)
    kind = "batch" if made is not None and made.launch else "service"
    if isinstance(made, JobSubmitted):
        kind = made.type
    if made is None:
        standing = _standing(state, namespace, name, done.index)
        kind = standing.type
        version, begun, spec = standing.version, standing.index, standing.spec
    else:
        version, begun, spec = made.version, done.index, bytes(made.spec) if isinstance(made, JobSubmitted) else b""
    told = specs.decode(spec) if spec else None
    body = Submitted(
        name=name,
        namespace=namespace,
        version=version,
        index=done.index or state.topic_index(job_topic(namespace, name)),
        deployment_id="" if kind == "batch" else _deployment(state, begun),
        launch=(made.launch or None) if made is not None else None,
        warnings=[*(_warnings(state, told) if told is not None else ()), *doubts, *call.parts.doubts()],
    )
    new = isinstance(made, JobSubmitted) and not made.uid
    return answer(body, 201 if new else 200, index=body.index)


def _warnings(state: State, spec: specs.Job) -> list[Problem]:
    return [*warnings(spec), *dependencies.doubts(state, spec), *missing(state, spec)]


def _standing(state: State, namespace: str, name: str, index: int) -> Version:
    """Find the version that was there already, at an index; 0: now."""
    job = intents.find_job(state, namespace, name)
    found = next((each for each in reversed(job.versions) if not index or each.index <= index), None)
    if found is None:
        raise not_found("version", f"of {name} at index {index}")
    return found


def _deployment(state: State, index: int) -> str:
    """Name the deployment that the submit at an index began."""
    usual = deployment_id(state.incarnation, index)
    if usual in state.deployments:
        return usual
    known = (each.id for each in state.deployments.values() if each.create_index == index)  # of an earlier incarnation
    return next(known, usual)


@tells(Judged, body=specs.Job, writes=False)
async def validate(call: Call) -> Answer:
    """Judge a spec and do nothing: `{problems, warnings}`."""
    document = await call.document()
    call.allow_nothing()
    try:
        spec = parse(document)
    except Invalid as refusal:
        return answer(Judged(valid=False, problems=list(refusal.details), warnings=[]))
    return answer(Judged(valid=True, problems=[], warnings=warnings(spec)))


@tells(Written, "job_not_found", "job_exists", "index_conflict")
async def stop(call: Call) -> Answer:
    """Stop all replicas and keep the job."""
    await call.nothing()
    return await _write(call, intents.stop_job)


@tells(Written, "job_not_found", "job_exists", "index_conflict")
async def delete(call: Call) -> Answer:
    """Remove a job and its replicas."""
    return await _write(call, intents.delete_job)


async def _write(call: Call, decide: Intent) -> Answer:
    namespace, name, guard = call.namespace, call.path["name"], call.number("check_index")
    call.allow(namespace, name, absent=not_found("job", name))
    return await written(
        call, await call.change(job_stream(namespace, name), lambda state: decide(state, namespace, name, guard))
    )


async def written(call: Call, done: Done) -> Answer:
    """Say where a change of a job stands."""
    namespace, name = call.namespace, call.path["name"]
    call.allow(namespace, name, absent=not_found("job", name))
    index = done.index or call.parts.view.state.topic_index(job_topic(namespace, name))
    body = Written(index, name=name, namespace=namespace, warnings=call.parts.doubts())
    return answer(body, index=index)
