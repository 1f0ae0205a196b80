"""Checking what the tasks of a job wait for, and what kind of job may say what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from heroctl.domain.errors import Problem
from heroctl.domain.spec import Dependency, Job, Task


def check_dependencies(job: Job, problems: list[Problem]) -> None:
    """Check what every task of a job waits for."""
    for number, task in enumerate(job.tasks):
        path = f"tasks[{number}].depends_on"
        for place, dependency in enumerate(task.depends_on):
            problems.extend(_problems(job, task, dependency, f"{path}[{place}]"))
        if len({(each.job, each.task) for each in task.depends_on}) < len(task.depends_on):
            problems.append(Problem(path, "duplicate", "the same job or task twice: one condition is enough"))
    waits = {task.name: [each.task for each in task.depends_on if each.task] for task in job.tasks}
    circles = (circle_through(name, lambda one: waits.get(one, ())) for name in waits)
    circle = next(filter(None, circles), ())
    if len(circle) > 2:  # who waits for itself was told so
        problems.append(Problem("tasks", "circular", f"these tasks wait for each other: {', '.join(circle)}"))


def _problems(job: Job, task: Task, dependency: Dependency, path: str) -> Iterator[Problem]:
    if (dependency.job is None) == (dependency.task is None):
        yield Problem(path, "invalid_value", "give exactly one of job, task")
    elif dependency.job == job.name:
        yield Problem(f"{path}.job", "invalid_value", "that is this job itself: name one of its tasks, as `task`")
    elif dependency.task == task.name:
        yield Problem(f"{path}.task", "invalid_value", "a task cannot wait for itself")
    elif dependency.task is not None and job.task(dependency.task) is None:
        yield Problem(f"{path}.task", "invalid_value", f"the job has no task '{dependency.task}'")
    elif dependency.task is not None and dependency.condition == "complete" and job.type in {"service", "system"}:
        said = f"the tasks of a {job.type} job run until they are stopped: none is ever complete"
        yield Problem(f"{path}.condition", "invalid_value", said)


def circle_through(start: str, waits: Callable[[str], Iterable[str]]) -> tuple[str, ...]:
    """Find the shortest way on which a thing waits for itself, with it at both ends; empty: there is none."""
    came: dict[str, str] = {}
    edge = [start]
    while edge and start not in came:
        found = [(other, name) for name in edge for other in waits(name) if other not in came]
        came.update(found[::-1])
        edge = list(dict.fromkeys(other for other, _ in found))
    if start not in came:
        return ()
    way = [start, came[start]]
    while way[-1] != start:
        way.append(came[way[-1]])
    return tuple(reversed(way))


def check_system(job: Job, problems: list[Problem]) -> None:
    """A system job has one replica of each task on every node that fits: nothing is counted, and nothing tried."""
    if job.type != "system":
        return
    for number, task in enumerate(job.tasks):
        path = f"tasks[{number}]"
        if task.count != 1:
            said = "a system job runs once on every node that fits: leave count out"
            problems.append(Problem(f"{path}.count", "invalid_value", said))
        if task.update.strategy != "rolling":
            said = f"a system job rolls from node to node: it has no set of replicas for {task.update.strategy}"
            problems.append(Problem(f"{path}.update.strategy", "invalid_value", said))
