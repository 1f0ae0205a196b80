"""What readers look at: the fold, what was encoded of it, and what is known of the living beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from api.disk import Disk
from api.items import Items
from api.pulse import Pulse
from api.uses import LastUses
from eventstore.view import View
from heroctl.domain.state import State
from reconciler.planner.place import Fleet


class Signs(Protocol):
    """What is known of the living, and stands in no event."""

    def silence(self, node: str) -> int | None:
        """Return the whole seconds since a node was seen to beat; None: nobody knows."""
        ...

    def stats_of(self, node: str) -> dict[str, float]:
        """Return what a node's agent measured; nothing: nobody knows."""
        ...


class Sight(Protocol):
    """What most readers look at: the fold, now or as it was, and the signs of life beside it."""

    @property
    def state(self) -> State:
        """The fold; not to be kept over an await."""
        ...

    @property
    def items(self) -> Items:
        """What was encoded of it."""
        ...

    @property
    def pulse(self) -> Signs:
        """Who lives."""
        ...


@dataclass(slots=True)
class World:
    """All of it. `release` is this process's version, `clock` gives seconds since the epoch."""

    view: View
    pulse: Pulse
    release: str
    uses: LastUses
    disk: Disk = field(default_factory=Disk)
    items: Items = field(default_factory=Items)
    clock: Callable[[], float] = time.time
    fleet: Fleet = field(default_factory=Fleet)  # the nodes as the planner sees them
    need_keys: Callable[[], None] = lambda: None  # raises where this process cannot open secrets

    def forget(self) -> None:
        """Forget what was made of another history."""
        self.items.clear()
        self.fleet = Fleet()

    @property
    def state(self) -> State:
        """The fold as it is now; not to be kept over an await."""
        return self.view.state
