"""How many replicas users asked for: a scale is about the job, and not about the version that it happened to come with.

So whoever goes back to an earlier version without naming one, a user or a deployment that failed, keeps what was asked
for by a scale since then. A spec that says another number afterwards has the last word, and goes back with its version.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from msgspec.structs import replace

from heroctl.domain import spec as specs
from heroctl.domain.events import TaskSummary
from heroctl.domain.records import Job, Version


def asked_since(job: Job, good: Version) -> dict[str, int]:
    """Give the counts of tasks that a scale asked for since a version, as far as no later spec says otherwise."""
    asked: dict[str, int] = {}
    for before, after in pairwise(job.versions):
        if after.version <= good.version:
            continue
        known = {task.name: task.count for task in before.tasks}
        for task in after.tasks:
            if after.kind == "scale" and known.get(task.name) != task.count:
                asked[task.name] = task.count
            elif asked.get(task.name) != task.count:
                asked.pop(task.name, None)
    return {task.name: asked[task.name] for task in good.tasks if asked.get(task.name, task.count) != task.count}


def with_counts(version: Version, counts: Mapping[str, int]) -> tuple[bytes, tuple[TaskSummary, ...]]:
    """Give a version's spec and tasks with other counts; without any, to the byte."""
    if not counts:
        return version.spec, version.tasks
    spec = specs.decode(version.spec)
    tasks = tuple(replace(task, count=counts.get(task.name, task.count)) for task in spec.tasks)
    summaries = tuple(replace(task, count=counts.get(task.name, task.count)) for task in version.tasks)
    return specs.encode(replace(spec, tasks=tasks)), summaries


def differ_in_counts_alone(one: Version, other: Version) -> bool:
    """Tell whether two versions are the same but for how many replicas they have."""
    counts = {task.name: task.count for task in other.tasks}
    if {task.name for task in one.tasks} != counts.keys():
        return False
    spec, tasks = with_counts(one, counts)
    return tasks == other.tasks and (spec == other.spec or specs.decode(spec) == specs.decode(other.spec))
