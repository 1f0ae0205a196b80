"""What all workers of an agent share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from agents.clock import Clock
from agents.container import Node
from agents.desired import Desired
from agents.journal import Journal
from agents.logs import Logs
from agents.ports import Ports
from agents.secrets import Secrets
from agents.services import Services


class Told(Protocol):
    """Hears that an allocation is worth a report; `passing`: of a phase that mostly ends at once."""

    def __call__(self, alloc: str, *, passing: bool = False) -> None:
        """Hear it."""
        ...


@dataclass
class Room:
    """What all workers of an agent share. `told` is called when something is worth a report, sooner or later."""

    node: Node
    clock: Clock
    journal: Journal
    ports: Ports
    told: Told
    secrets: Secrets
    services: Services
    logs: Logs
    desired: Desired
    removed: bool = False  # the node is no longer one: everything is to stop
    heard_at: float | None = None  # when the last beat was sent that was answered
    released: frozenset[str] = frozenset()  # allocations that nobody named, and an operator let go of
