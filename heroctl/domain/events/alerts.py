"""Events of alerts: thresholds that somebody set, and what came of them."""

from __future__ import annotations

from typing import ClassVar, Literal

from heroctl.domain.events.event import Event, Writer

Comparison = Literal[">", ">=", "<", "<="]


class AlertSet(Event, frozen=True, gc=False, omit_defaults=True):
    """Somebody wants to be told when a metric stays beyond a threshold: of nodes, or of a job's allocations."""

    TAG: ClassVar[str] = "alert.set"
    namespace: str
    name: str
    metric: str
    comparison: Comparison
    threshold: float
    seconds: int  # for so long
    job: str = ""
    task: str = ""
    node: str = ""  # of nodes: this one only
    description: str = ""


class AlertDeleted(Event, frozen=True, gc=False, omit_defaults=True):
    """Nobody wants to be told of that any more."""

    TAG: ClassVar[str] = "alert.deleted"
    namespace: str
    name: str


class AlertFired(Event, frozen=True, gc=False, omit_defaults=True):
    """A metric has been beyond an alert's threshold for as long as it says: of `of`, a node or an allocation."""

    TAG: ClassVar[str] = "alert.fired"
    WRITER: ClassVar[Writer] = "decision"
    namespace: str
    name: str
    metric: str
    condition: str
    of: str
    value: float
    job: str = ""
    description: str = ""


class AlertResolved(Event, frozen=True, gc=False, omit_defaults=True):
    """Nothing that an alert is about is beyond its threshold any more, or nothing of it is measured."""

    TAG: ClassVar[str] = "alert.resolved"
    WRITER: ClassVar[Writer] = "decision"
    namespace: str
    name: str
    metric: str
    condition: str
    job: str = ""
