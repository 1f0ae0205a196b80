"""Events of nodes."""

from __future__ import annotations

from typing import ClassVar

from msgspec import field

from heroctl.domain.assignment import Capacity, Driver
from heroctl.domain.events.event import Event, Writer


class NodeRegistered(Event, frozen=True, gc=False, omit_defaults=True):
    """A server joined with a join token, which is spent by this; its own token's hash is the row `credential`."""

    TAG: ClassVar[str] = "node.registered"
    id: str
    name: str
    join_token: str
    credential: str


class NodeSessionOpened(Event, frozen=True, gc=False, omit_defaults=True):
    """An agent process speaks for the node from here on. Its inventory's reports are events of the same append."""

    TAG: ClassVar[str] = "node.session_opened"
    node: str
    boot_id: str
    capacity: Capacity
    drivers: dict[str, Driver]
    address: str
    version: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)


class NodeUnknownContainers(Event, frozen=True, gc=False, omit_defaults=True):
    """The node holds containers of this cluster that its assignment does not name. They are kept."""

    TAG: ClassVar[str] = "node.unknown_containers"
    node: str
    containers: tuple[str, ...]


class NodeContainersReleased(Event, frozen=True, gc=False, omit_defaults=True):
    """An operator lets the node's agent stop containers that it holds and nobody named."""

    TAG: ClassVar[str] = "node.containers_released"
    node: str
    name: str
    containers: tuple[str, ...]


class NodeUp(Event, frozen=True, gc=False, omit_defaults=True):
    """The node beats, after a full inventory: it takes allocations."""

    TAG: ClassVar[str] = "node.up"
    WRITER: ClassVar[Writer] = "decision"
    node: str
    name: str


class NodeDown(Event, frozen=True, gc=False, omit_defaults=True):
    """The node has been silent for `silent` seconds."""

    TAG: ClassVar[str] = "node.down"
    WRITER: ClassVar[Writer] = "decision"
    node: str
    name: str
    silent: float
    allocations: tuple[str, ...] = ()


class NodeEligibilitySet(Event, frozen=True, gc=False, omit_defaults=True):
    """Whether new allocations may be placed on the node."""

    TAG: ClassVar[str] = "node.eligibility_set"
    node: str
    eligible: bool


class NodeDrainStarted(Event, frozen=True, gc=False, omit_defaults=True):
    """All that runs on the node is to leave it, and nothing more comes; said again, with the newest deadline."""

    TAG: ClassVar[str] = "node.drain_started"
    node: str
    name: str
    seconds: int | None = None  # until what is still there is stopped; None: never
    ignore_system: bool = False


class NodeDrainCancelled(Event, frozen=True, gc=False, omit_defaults=True):
    """What has not left the node stays. `eligible`: new allocations may come to it again."""

    TAG: ClassVar[str] = "node.drain_cancelled"
    node: str
    name: str
    eligible: bool = True


class NodeDrainFinished(Event, frozen=True, gc=False, omit_defaults=True):
    """The node's containers are gone; so many left in time, and so many were stopped at the deadline."""

    TAG: ClassVar[str] = "node.drain_finished"
    WRITER: ClassVar[Writer] = "decision"
    node: str
    name: str
    moved: int = 0
    stopped: int = 0


class NodeRemoved(Event, frozen=True, gc=False, omit_defaults=True):
    """The node is no more, and with it all it held."""

    TAG: ClassVar[str] = "node.removed"
    node: str
    name: str
