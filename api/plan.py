"""What a submit would do: what is different, and what the planner would make of it. Nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import structlog
from msgspec import Struct
from msgspec.structs import asdict

from api.access import forbidden
from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.images import moved
from api.posted import allowed
from heroctl.domain import dependencies
from heroctl.domain import spec as specs
from heroctl.domain.diff import Difference, diff, document
from heroctl.domain.errors import Invalid, Problem
from heroctl.domain.events import JobSubmitted
from heroctl.domain.intents.change import Change
from heroctl.domain.intents.jobs import submit_job
from heroctl.domain.pinning import missing
from heroctl.domain.records import Job
from heroctl.domain.spec import Strategy
from heroctl.domain.validate import warnings
from reconciler.planner.dryrun import Counts, Outlook, TaskOutlook, overlay, steps, total

_log: Final = structlog.get_logger(__name__)


class NodeShare(Struct, frozen=True):
    """How many replicas a node would get."""

    node: str
    replicas: int


class PlannedTask(Counts, frozen=True):
    """A task: how its version follows the one before, and where new replicas would go, first to the first node."""

    strategy: Strategy
    nodes: list[NodeShare]


class Planned(Counts, frozen=True):
    """What would become of a job if this were submitted; with all the fields of what a submit answers.

    Nothing was begun: `deployment_id` is empty, and `index` that of the state which was looked at. Counted is what
    happens by itself. What waits for somebody to promote it says so, and `once_promoted` counts all that is done in
    the end if somebody does. Where the clock or a dispatch launches it, it waits for that, and `once_launched` counts
    what a launch places. `blocked`: what would fit nowhere, and why. `preempted`: how many replicas of other jobs,
    of a lower priority, make way. `truncated`: it is more than a plan looks at, and so much at least. `check_index`
    lets a submit rest on this plan: it is refused if the job has moved meanwhile.
    """

    name: str
    namespace: str
    version: int
    index: int
    deployment_id: str
    launch: int | None
    changed: bool
    diff: list[Difference]
    tasks: dict[str, PlannedTask]
    blocked: tuple[str, ...]
    warnings: list[Problem]
    waits_for: Literal["", "promotion", "launch"]
    once_promoted: Counts | None
    once_launched: Counts | None
    preempted: int
    truncated: bool
    check_index: int


@tells(
    Planned,
    "invalid_spec",
    "namespace_not_found",
    "job_exists",
    "index_conflict",
    "job_type_fixed",
    "upgrade_incomplete",
    "busy",
    body=specs.Job,
    writes=False,
)
async def plan(call: Call) -> Answer:
    """Tell what a submit of this spec would do, and do nothing."""
    spec = await allowed(call)
    # What is different tells what is there now: its environment, too.
    call.need("job:read", spec.namespace, spec.name, absent=forbidden("job:read", "a plan"))
    looked = await call.parts.images.look(spec)
    state, actor = call.parts.view.state, call.principal.actor
    job = state.job(spec.namespace, spec.name)
    change = submit_job(state, spec, actor, call.number("check_index"), looked.digests)
    own, index = overlay(state, job.uid if job else 0), state.index
    now = int(call.parts.clock() * 1000)
    names = {node.id: node.name for node in state.nodes.values()}
    doubts = [*dependencies.doubts(state, spec), *missing(state, spec)]
    outlook = await call.parts.aside.do(steps(own, spec.namespace, spec.name, change.events, now))
    if outlook.fault is not None:
        _log.error("dry_run_failed", job=f"{spec.namespace}/{spec.name}", exc_info=outlook.fault)
    rows = _diff(job, spec, change) + moved(job, looked)
    doubts += looked.doubts
    return answer(_shown(index, job, spec, outlook, names, rows=rows, doubts=doubts, changed=bool(change.events)))


def dry(call: Call) -> bool:
    """Tell whether a call of a submit asks for no more than its plan. Raises `invalid_dry_run`."""
    given = call.args.get("dry_run", "false")
    if given not in ("true", "false"):
        problem = Problem("dry_run", "invalid_dry_run", "expected true or false")
        raise Invalid("invalid_dry_run", f"dry_run: {problem.message}", details=(problem,))
    return given == "true"


def _shown(
    index: int,
    job: Job | None,
    spec: specs.Job,
    outlook: Outlook,
    names: dict[str, str],
    *,
    rows: list[Difference],
    doubts: Sequence[Problem],
    changed: bool,
) -> Planned:
    version = job.current.version if job else 0
    return Planned(
        **asdict(total(outlook.tasks.values())),
        name=spec.name,
        namespace=spec.namespace,
        version=version + 1 if changed else version,
        index=index,
        deployment_id="",
        launch=None,
        changed=changed,
        diff=rows,
        tasks={name: _task(spec, name, task, names) for name, task in outlook.tasks.items()},
        blocked=(*outlook.blocked, *_fault(outlook)),
        warnings=[*warnings(spec), *doubts],
        waits_for=outlook.waits_for,
        once_promoted=None if outlook.promoted is None else total(outlook.promoted.values()),
        once_launched=None if outlook.launched is None else total(outlook.launched.values()),
        preempted=outlook.preempted,
        truncated=outlook.truncated,
        check_index=job.spec_index if job else 0,
    )


def _diff(job: Job | None, spec: specs.Job, change: Change) -> list[Difference]:
    """Tell what is different, in what is asked for and in which versions of secrets it is made with."""
    now = job.current.tasks if job is not None else ()
    then = next((event.tasks for event in change.events if isinstance(event, JobSubmitted)), now)
    return diff(document(specs.decode(job.current.spec), now) if job is not None else {}, document(spec, then))


def _fault(outlook: Outlook) -> tuple[str, ...]:
    fault = outlook.fault
    return () if fault is None else (f"planning it fails: {type(fault).__name__}: {fault}"[:500],)


def _task(spec: specs.Job, name: str, task: TaskOutlook, names: dict[str, str]) -> PlannedTask:
    wanted = spec.task(name)
    return PlannedTask(
        **asdict(task.counts),
        strategy=wanted.update.strategy if wanted is not None else "rolling",
        nodes=[NodeShare(names.get(node, node), replicas) for node, replicas in task.nodes.items()],
    )
