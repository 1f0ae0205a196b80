"""What a job spec takes besides the right to submit it: fields that reach out of a container have rights of their own.

They are asked for on every path that makes a version: create, update, scale, rollback and dry run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from heroctl.domain.isolation import taken
from heroctl.domain.spec import Job


class Need(NamedTuple):
    """A right that a spec takes, and the path of a field that takes it."""

    right: str
    path: str


def needs(spec: Job) -> Iterator[Need]:
    """Give all that a spec takes."""
    for number, task in enumerate(spec.tasks):
        for each in taken(task):
            yield Need(f"container:{each.right}", f"tasks[{number}].{each.path}")
