"""What readers look at: the fold, what was encoded of it, and what is known of the living beside it."""

from __future__ import annotations

from dataclasses import dataclass, field

from api.pulse import Pulse
from api.reads import Items
from eventstore.view import View
from heroctl.domain.state import State


@dataclass(slots=True)
class World:
    """All of it. `release` is this process's version."""

    view: View
    pulse: Pulse
    release: str
    items: Items = field(default_factory=Items)

    @property
    def state(self) -> State:
        """The fold as it is now; not to be kept over an await."""
        return self.view.state
