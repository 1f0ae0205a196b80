"""Which jobs wait for which: read off the specs that are wanted now."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from heroctl.domain import spec as specs
from heroctl.domain.checks_depends import circle_through
from heroctl.domain.errors import Problem
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
    """Say what a job waits for that may never be: others, unlike its own tasks, can still come, or change."""
    for number, task in enumerate(job.tasks):
        for place, each in enumerate(task.depends_on):
            if each.job is None:
                continue
            path = f"tasks[{number}].depends_on[{place}]"
            other = state.job(job.namespace, each.job)
            if other is None:
                said = f"there is no job '{each.job}' in namespace {job.namespace} yet: the task waits until there is"
                yield Problem(f"{path}.job", "not_there", said)
            elif each.condition == "complete" and specs.decode(other.current.spec).type != "batch":
                said = f"job '{each.job}' is none that is ever complete: the task waits for ever"
                yield Problem(f"{path}.condition", "never_true", said)
    around = circle(state, job.namespace, job.name, specs.encode(job))
    if around:
        said = f"these jobs wait for each other: {', '.join(around)}; none of them is placed first"
        yield Problem("tasks", "circular", said)
