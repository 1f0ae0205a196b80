"""What the API says of versions and of what would change, as far as this command line reads it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct, field

from heroctl.cli.faults import Problem


class Difference(Struct, frozen=True):
    """One place of a spec that is different."""

    path: str
    kind: str
    from_: Any = field(name="from", default=None)
    to: Any = None


class Version(Struct, frozen=True):
    """A version of a job. `of`: the one that it repeats."""

    version: int
    kind: str = "submit"
    of: int | None = None
    images: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, dict[str, int | None]] = field(default_factory=dict)
    meta: dict[str, str] = field(default_factory=dict)
    by: str = ""
    created_at: datetime | None = None
    stable: bool = False


class VersionsDiff(Struct, frozen=True):
    """What is different between two versions; `from_` None: all of it is."""

    to: int
    from_: int | None = field(name="from", default=None)
    diff: tuple[Difference, ...] = ()


class Counts(Struct, frozen=True):
    """What becomes of replicas."""

    place: int = 0
    stop: int = 0
    replace: int = 0
    in_place: int = 0


class NodeShare(Struct, frozen=True):
    """How many replicas a node would get."""

    node: str
    replicas: int = 0


class PlannedTask(Counts, frozen=True):
    """What becomes of a task."""

    strategy: str = "rolling"
    nodes: tuple[NodeShare, ...] = ()


class Planned(Counts, frozen=True):
    """What would become of a job; see the API."""

    name: str = ""
    namespace: str = "default"
    version: int = 0
    changed: bool = False
    diff: tuple[Difference, ...] = ()
    tasks: dict[str, PlannedTask] = field(default_factory=dict)
    blocked: tuple[str, ...] = ()
    warnings: tuple[Problem, ...] = ()
    waits_for: str = ""
    once_promoted: Counts | None = None
    once_launched: Counts | None = None
    preempted: int = 0
    truncated: bool = False
    check_index: int = 0

    @property
    def moves(self) -> bool:
        """Tell whether submitting it would do anything."""
        return self.changed or bool(self.place or self.stop or self.replace or self.in_place)
