"""What a node should run: a fold of the state, with an index of its own."""

from __future__ import annotations

from msgspec.structs import replace

from heroctl.domain import spec as specs
from heroctl.domain.assignment import Assigned, Work
from heroctl.domain.image import pinned
from heroctl.domain.records import Alloc, Job, Node, Version
from heroctl.domain.state import State, find_launch
from heroctl.domain.topics import assignment_topic


def assignment_index(state: State, node: str) -> int:
    """Return the index of the last event that changed what the node should run; 0: none ever did."""
    return state.topics.get(assignment_topic(node), 0)


def complete(state: State, node: Node) -> list[Assigned]:
    """List everything a node holds: to run, or to stop. What is over is not named."""
    return [assigned(state, node, alloc) for alloc in state.allocs_on(node.id)]


def changed(state: State, node: Node, since: int) -> list[Assigned]:
    """List what changed on a node after an index. Nothing leaves an assignment but by the agent's own report."""
    return [assigned(state, node, alloc) for alloc in state.allocs_on(node.id) if alloc.assign_index > since]


def assigned(state: State, node: Node, alloc: Alloc) -> Assigned:
    """Spell out one allocation for its agent."""
    version = _version(state.jobs[alloc.uid], alloc)
    summary = version.task(alloc.task)
    return Assigned(
        id=alloc.id,
        namespace=alloc.namespace,
        job=alloc.job,
        task=alloc.task,
        slot=alloc.slot,
        version=alloc.version,
        wanted=alloc.wanted,
        digest=alloc.content,
        spec=_task(version, alloc),
        cluster=state.cluster,
        node=node.name,
        address=node.address,
        index=alloc.assign_index,
        seen_attempt=alloc.attempt,
        work=_work(state, alloc) if alloc.launch else None,
        secrets=() if summary is None else summary.named,
        restart=alloc.restart,
        signals=alloc.signals,
        cause=cause_of(state, alloc.uid, alloc.version, alloc.deployment),
        execs=alloc.execs,
    )


def cause_of(state: State, uid: int, version: int, deployment: str) -> int:
    """Name the index of the event that an allocation is there for: of its deployment, else of its version; 0: unknown.

    A trace is named by it, and whoever holds the state finds the same.
    """
    begun = state.deployments.get(deployment)
    if begun is not None:
        return begun.create_index
    job = state.jobs.get(uid)
    made = job.version(version) if job is not None else None
    return made.index if made is not None else 0


def _version(job: Job, alloc: Alloc) -> Version:
    """Take the newest version whose containers would be the same: it carries the newest policies."""
    return _same_content(job.current, alloc) or job.version(alloc.version) or job.current


def _task(version: Version, alloc: Alloc) -> specs.Task:
    """Give the task as that version has it.

    Its image is the one that the tag stood for, once that is known. What runs already was made from it, or is kept.
    """
    task = specs.decode(version.spec).task(alloc.task)
    if task is None:  # versions that run are kept, so this is a broken history
        msg = f"version {version.version} of job {alloc.job} has no task {alloc.task}"
        raise LookupError(msg)
    summary = version.task(alloc.task)
    if summary is None or not summary.image or not task.image:
        return task
    return replace(task, image=pinned(task.image, summary.image))


def _work(state: State, alloc: Alloc) -> Work:
    """Say what a replica of a launch works on. One whose launch is over is only told to stop."""
    launch = find_launch(state, alloc.uid, alloc.launch)
    if launch is None:
        return Work(alloc.launch)
    return Work(launch.number, launch.scheduled_at, launch.payload, dict(launch.meta))


def _same_content(version: Version, alloc: Alloc) -> Version | None:
    task = version.task(alloc.task)
    return version if task is not None and task.content == alloc.content else None
