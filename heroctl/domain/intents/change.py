"""What an intent amounts to."""

from __future__ import annotations

from msgspec import Struct

from heroctl.domain.events import Event


class Change(Struct, frozen=True):
    """Events to append, the streams they stand on, and those whose state was read (the moved ones always are)."""

    events: tuple[Event, ...] = ()
    moves: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()

    @property
    def expects(self) -> tuple[str, ...]:
        """All streams that must not have moved since the view that decided."""
        return tuple(sorted({*self.moves, *self.reads}))


NOTHING = Change()


def job_stream(namespace: str, name: str) -> str:
    """Name the stream of user intents on a job, its deployments and its allocations."""
    return f"job:{namespace}/{name}"


def node_stream(node: str) -> str:
    """Name the stream of a node's registration, sessions and capacity."""
    return f"node:{node}"


def agent_stream(node: str) -> str:
    """Name the stream of what a node's agent observed."""
    return f"agent:{node}"


def claim_stream(kind: str, name: str) -> str:
    """Name the stream of something that must be unique or must exist."""
    return f"claim:{kind}:{name}"
