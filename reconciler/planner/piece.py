"""What a plan is made of."""

from __future__ import annotations

from msgspec import Struct

from heroctl.domain.events import Event


class Piece(Struct, frozen=True):
    """Decisions that become true together, in one append, or not at all."""

    events: tuple[Event, ...]
    reads: tuple[str, ...] = ()  # streams that must not have moved since the state; the moved ones must not either
    moves: tuple[str, ...] = ()  # streams these events stand on
    uid: int | None = None  # the job it is about

    @property
    def expects(self) -> tuple[str, ...]:
        """All streams that must stand where the state saw them."""
        return tuple(sorted({*self.reads, *self.moves}))


class Fault(Struct, frozen=True):
    """A bug met while planning one job: nothing of it is appended."""

    uid: int
    error: Exception


class Plan(Struct, frozen=True):
    """What to append, and when to plan again at the latest (ms; None: when something moves)."""

    pieces: tuple[Piece, ...] = ()
    wake_at: int | None = None
    more: bool = False  # plan again as soon as this is applied
    faults: tuple[Fault, ...] = ()
