"""Events of the cluster itself."""

from __future__ import annotations

from typing import ClassVar

from heroctl.domain.events.event import Event, Writer


class ClusterCreated(Event, frozen=True, gc=False, omit_defaults=True):
    """Index 1 of every log: the cluster's name for itself and this history's identity."""

    TAG: ClassVar[str] = "cluster.created"
    cluster: str
    incarnation: str


class IncarnationDrawn(Event, frozen=True, gc=False, omit_defaults=True):
    """From here on this is another history than one that was read before: events were lost or brought back."""

    TAG: ClassVar[str] = "cluster.incarnation_drawn"
    incarnation: str
    reason: str = ""


class CoordinatorElected(Event, frozen=True, gc=False, omit_defaults=True):
    """A reconciler took the lease. Written by the take-over transaction itself."""

    TAG: ClassVar[str] = "coordinator.elected"
    WRITER: ClassVar[Writer] = "decision"
    holder: str
    epoch: int


class CoordinatorTransferred(Event, frozen=True, gc=False, omit_defaults=True):
    """An administrator handed coordination from one reconciler to another: the election stands beside it."""

    TAG: ClassVar[str] = "coordinator.transferred"
    source: str
    target: str


class LevelRaised(Event, frozen=True, gc=False, omit_defaults=True):
    """Every process can fold the events of this level: from here on they may be written. It is never lowered."""

    TAG: ClassVar[str] = "cluster.level_raised"
    WRITER: ClassVar[Writer] = "decision"
    level: int


class MemberJoined(Event, frozen=True, gc=False, omit_defaults=True):
    """An api or reconciler process was first seen."""

    TAG: ClassVar[str] = "member.joined"
    WRITER: ClassVar[Writer] = "decision"
    id: str
    role: str
    address: str
    version: str = ""


class MemberLeft(Event, frozen=True, gc=False, omit_defaults=True):
    """A member has not renewed its row for 15 seconds, or said goodbye."""

    TAG: ClassVar[str] = "member.left"
    WRITER: ClassVar[Writer] = "decision"
    id: str


class BrakeRequested(Event, frozen=True, gc=False, omit_defaults=True):
    """An operator wants the brake on until it is let go by hand, or wants it let go now."""

    TAG: ClassVar[str] = "cluster.brake_requested"
    on: bool


class ClusterSettingsSet(Event, frozen=True, gc=False, omit_defaults=True):
    """An operator set some keys for the whole cluster; the others stay as they are."""

    TAG: ClassVar[str] = "cluster.settings_set"
    settings: dict[str, str | bool]


class BrakeOn(Event, frozen=True, gc=False, omit_defaults=True):
    """So many nodes are down at once that it is more likely us who are cut off: replacement of them is held."""

    TAG: ClassVar[str] = "cluster.brake_on"
    WRITER: ClassVar[Writer] = "decision"
    down: int
    of: int
    reason: str = ""  # `operator`: it was asked for, however many are down


class BrakeOff(Event, frozen=True, gc=False, omit_defaults=True):
    """Few enough nodes are down again, or an operator said go."""

    TAG: ClassVar[str] = "cluster.brake_off"
    WRITER: ClassVar[Writer] = "decision"
    reason: str = ""
