"""What things are called, and what is said of a name that nothing can have."""

from __future__ import annotations

import re
from typing import Final

from heroctl.domain.errors import Problem

NAME: Final = re.compile(r"^[a-z0-9][a-z0-9-]{0,62}$")  # of a job, a task, a namespace, a role, a policy, an alert
NODE_NAME: Final = re.compile(r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")
_RULE: Final = "use 1 to 63 of a-z, 0-9 and -, beginning with a letter or digit"
_NODE_RULE: Final = "a node's name is a host name: a-z, 0-9, '-' and '.', at most 63"


def misnamed(name: str, path: str = "name") -> list[Problem]:
    """Say what is wrong with a name, if it is."""
    return [] if NAME.fullmatch(name) else [Problem(path, "invalid_name", f"{name!r}: {_RULE}")]


def misnamed_node(name: str, path: str = "name") -> list[Problem]:
    """Say what is wrong with a node's name, if it is."""
    return [] if NODE_NAME.fullmatch(name) else [Problem(path, "invalid_name", _NODE_RULE)]
