"""What a job spec takes besides the right to submit it: fields that reach out of a container have rights of their own.

They are asked for on every path that makes a version: create, update, scale, rollback and dry run.
"""

from __future__ import annotations

from typing import Final

from heroctl.domain.level import Field, said
from heroctl.domain.spec import Job

# By struct of the spec and name of its field: what it takes to say anything but its default there.
RIGHTS: Final[dict[Field, str]] = {}


def needs(spec: Job) -> dict[str, str]:
    """Give the rights that a spec takes, each with the path of the first field that takes it."""
    found: dict[str, str] = {}
    for field, path in said(spec, RIGHTS.keys()):
        found.setdefault(RIGHTS[field], path)
    return found
