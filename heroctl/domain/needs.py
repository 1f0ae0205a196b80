"""What a job spec takes besides the right to submit it: what reaches out of a container has rights of its own.

So has what others keep secret: who may submit a job could have it printed.

They are asked for on every path that makes a version: create, update, scale, rollback and dry run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from heroctl.domain.isolation import taken
from heroctl.domain.references import SECRET, references
from heroctl.domain.spec import Job


class Need(NamedTuple):
    """A right that a spec takes, and the path of a field that takes it."""

    right: str
    path: str


def needs(spec: Job) -> Iterator[Need]:
    """Give all that a spec takes."""
    for number, task in enumerate(spec.tasks):
        if task.driver == "process":  # more than any container: a command of the host, as whoever the agent runs as
            yield Need("container:process", f"tasks[{number}].driver")
        for each in taken(task):
            yield Need(f"container:{each.right}", f"tasks[{number}].{each.path}")
        secret = next((path for path, reference in references(task) if reference.kind == SECRET), None)
        if secret is not None:
            yield Need("secret:use", f"tasks[{number}].{secret}")
