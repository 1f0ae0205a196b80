"""What an agent does by itself where nobody tells it anything: stop what may never run twice, and let go of strangers.

Pure. A container is let go of only if an operator said so of it, and this agent told of it in the present incarnation.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from msgspec.structs import replace

from agents.container import Container
from agents.record import Record
from agents.step import Wish
from heroctl.domain.disconnect import stops_after
from heroctl.domain.lifecycle import DISCONNECTED

SHORT = 12  # characters of a container's id that are told


def patient(wish: Wish, record: Record, heard_at: float | None, now: float) -> Wish:
    """Say what is wanted after a silence. `heard_at`: when the last beat was sent that was answered; None: not known.

    Nothing is begun where it is not known for how long nobody has answered. What has begun to stop ends.
    """
    after = stops_after(wish.assigned.spec) if wish.wanted == "run" and wish.assigned is not None else None
    if after is None:
        return wish
    ending = record.phase == "stopping" and record.reason == DISCONNECTED
    if heard_at is None and not ending:
        return Wish("keep")
    at = (heard_at or 0.0) + after
    if now < at and not ending:
        return replace(wish, until=at)
    return Wish("stop", wish.assigned, wish.incarnation, reason=DISCONNECTED)


def released(
    allowed: Collection[str], told: Collection[str], held: Mapping[str, Sequence[Container] | None]
) -> frozenset[str]:
    """Name the allocations, of those that nobody named, all of whose containers may be stopped."""
    may = {each for each in allowed if each in told}
    return frozenset(
        alloc for alloc, containers in held.items() if containers and all(one.id[:SHORT] in may for one in containers)
    )
