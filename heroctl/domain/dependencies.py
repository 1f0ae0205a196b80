"""Which jobs wait for which: read off the specs that are wanted now."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from heroctl.domain import spec as specs
from heroctl.domain.checks_depends import circle_through
from heroctl.domain.errors import Problem
from heroctl.domain.references import references
from heroctl.domain.state import State


def circle(state: State, namespace: str, job: str, spec: bytes) -> tuple[str, ...]:
    """Name the jobs on the shortest way on which a job waits for itself, with it at both ends; empty: there is none."""

    def waits(name: str) -> tuple[str, ...]:
        if name == job:
            return _named(spec)
        other = state.job(namespace, name)
        return _named(other.current.spec) if other is not None else ()

    return circle_through(job, waits)


@lru_cache(maxsize=8192)
def _named(spec: bytes) -> tuple[str, ...]:
    named = (each.job for task in specs.decode(spec).tasks for each in task.depends_on)
    return tuple(dict.fromkeys(name for name in named if name is not None))


def doubts(state: State, job: specs.Job) -> Iterator[Problem]:
    """Say what a job waits for, or refers to, that may never be: others can still come, or change."""
    for number, task in enumerate(job.tasks):
        for place, each in enumerate(task.depends_on):
            yield from _awaited(state, job, each, f"tasks[{number}].depends_on[{place}]")
        for path, (kind, name) in references(task):
            said = _unknown(state, job, name) if kind == "service" else None
            if said is not None:
                yield Problem(f"tasks[{number}].{path}", "not_there", f"${{service.{name}}}: {said}")
    around = circle(state, job.namespace, job.name, specs.encode(job))
    if around:
        said = f"these jobs wait for each other: {', '.join(around)}; none of them is placed first"
        yield Problem("tasks", "circular", said)


def _awaited(state: State, job: specs.Job, each: specs.Dependency, path: str) -> Iterator[Problem]:
    other = state.job(job.namespace, each.job) if each.job is not None else None
    if each.job is not None and other is None:
        said = f"there is no job '{each.job}' in namespace {job.namespace} yet: the task waits until there is"
        yield Problem(f"{path}.job", "not_there", said)
    elif other is not None and each.condition == "complete" and other.type != "batch":
        said = f"job '{each.job}' is none that is ever complete: the task waits for ever"
        yield Problem(f"{path}.condition", "never_true", said)


def _unknown(state: State, job: specs.Job, service: str) -> str | None:
    """Say what there is not of a service; None: its job offers it."""
    wanted, task, port = service.split(".", 2)
    other = state.job(job.namespace, wanted)
    spec = job if wanted == job.name else specs.decode(other.current.spec) if other is not None else None
    if spec is None:
        return f"there is no job '{wanted}' in namespace {job.namespace} yet"
    found = spec.task(task)
    if found is None:
        return f"job '{wanted}' has no task '{task}'"
    return None if port in found.ports else f"task '{task}' of job '{wanted}' has no port '{port}'"
