"""What users change about a job without a spec of their own: an earlier version, another count, all replicas anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from msgspec import Meta, Struct

from api.answer import Answer
from api.call import Call
from api.contract import tells
from api.jobs import became
from api.wire import Submitted
from api.write import Done
from heroctl.domain import spec as specs
from heroctl.domain.diff import document
from heroctl.domain.errors import Invalid, Problem, not_found
from heroctl.domain.events import JobSubmitted
from heroctl.domain.intents import jobs as intents
from heroctl.domain.intents.change import Change, job_stream
from heroctl.domain.records import Job
from heroctl.domain.state import State
from heroctl.domain.validate import parse

Decide = Callable[[State, Job, int | None], Change]  # with the guard


class Rollback(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/jobs/:name/rollback`. Without a version: the newest that was stable and is another."""

    version: Annotated[int, Meta(ge=1)] | None = None


class Scale(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/jobs/:name/scale`. The task may be left out where the job has one."""

    count: Annotated[int, Meta(ge=0, le=specs.MAX_COUNT)]
    task: str | None = None


@tells(
    Submitted,
    "job_not_found",
    "version_not_found",
    "invalid_spec",
    "no_stable_version",
    "secret_version_gone",
    "job_exists",
    "index_conflict",
    body=Rollback,
)
async def rollback(call: Call) -> Answer:
    """Repeat an earlier version of a job, as a new one; unless it is named, the newest that was stable and is another.

    It rolls, whatever its strategy: what it repeats was good. A job that is stopped is started by it. What it repeats
    has the versions of its secrets that it was made with; where one of them was deleted, it cannot be repeated.
    """
    wanted, actor = await call.body(Rollback), call.principal.actor
    return await _write(call, lambda state, job, guard: intents.rollback_job(state, job, wanted.version, actor, guard))


@tells(
    Submitted,
    "job_not_found",
    "task_not_found",
    "invalid_spec",
    "job_stopped",
    "not_scalable",
    "job_exists",
    "index_conflict",
    body=Scale,
)
async def scale(call: Call) -> Answer:
    """Run another number of replicas of a task, as a new version that is the present one otherwise."""
    wanted, actor = await call.body(Scale), call.principal.actor

    def decide(_: State, job: Job, guard: int | None) -> Change:
        return intents.scale_job(job, wanted.task or _only_task(job), wanted.count, actor, guard)

    return await _write(call, decide)


def _only_task(job: Job) -> str:
    names = [task.name for task in job.current.tasks]
    if len(names) > 1:
        problem = Problem("task", "required", f"the job has {len(names)} tasks: say which of {', '.join(names)}")
        raise Invalid("invalid_body", f"task: {problem.message}", details=(problem,))
    return names[0]


@tells(Submitted, "job_not_found", "job_stopped", "not_restartable", "job_exists", "index_conflict")
async def restart(call: Call) -> Answer:
    """Replace all replicas of a job by ones of the same version, as a deployment would: by its strategy.

    Where secrets that it uses are others by now it takes them, as a new version.
    """
    await call.nothing()
    actor = call.principal.actor
    return await _write(call, lambda state, job, guard: intents.restart_job(state, job, actor, guard))


async def _write(call: Call, decide: Decide) -> Answer:
    namespace, name, guard = call.namespace, call.path["name"], call.number("check_index")
    call.allow(namespace, name, absent=not_found("job", name))

    def judged(state: State) -> Change:
        change = decide(state, intents.find_job(state, namespace, name), guard)
        for event in change.events:
            if isinstance(event, JobSubmitted):  # which rights it takes is asked where it is written
                parse(document(specs.decode(bytes(event.spec))))
        return change

    return await written(call, await call.change(job_stream(namespace, name), judged))


async def written(call: Call, done: Done) -> Answer:
    """Say what became of the job."""
    namespace, name = call.namespace, call.path["name"]
    call.allow(namespace, name, absent=not_found("job", name))
    return became(call, namespace, name, done)
