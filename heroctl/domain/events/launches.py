"""Events of the launches of batch jobs."""

from __future__ import annotations

from typing import ClassVar, Literal

from msgspec import field

from heroctl.domain.events.event import Event, Writer


class JobDispatched(Event, frozen=True, gc=False, omit_defaults=True):
    """A user launches a batch job, with something to work on; or, `forced`, without waiting for the clock."""

    TAG: ClassVar[str] = "job.dispatched"
    uid: int
    namespace: str
    name: str
    version: int
    launch: int  # its number
    by: str = ""
    payload: bytes = b""
    meta: dict[str, str] = field(default_factory=dict)
    forced: bool = False


class JobLaunched(Event, frozen=True, gc=False, omit_defaults=True):
    """The clock launches a batch job. There is one for a scheduled time, or none."""

    TAG: ClassVar[str] = "job.launched"
    WRITER: ClassVar[Writer] = "decision"
    uid: int
    namespace: str
    name: str
    version: int
    launch: int  # its number
    scheduled_at: int  # ms


class JobLaunchSkipped(Event, frozen=True, gc=False, omit_defaults=True):
    """The clock would have launched a batch job, but for a launch that went on."""

    TAG: ClassVar[str] = "job.launch_skipped"
    WRITER: ClassVar[Writer] = "decision"
    uid: int
    namespace: str
    name: str
    launch: int  # the one that went on
    scheduled_at: int  # ms


class JobLaunchFinished(Event, frozen=True, gc=False, omit_defaults=True):
    """A launch ended: all its replicas did well, or one failed for good."""

    TAG: ClassVar[str] = "job.launch_finished"
    WRITER: ClassVar[Writer] = "decision"
    uid: int
    namespace: str
    name: str
    launch: int
    status: Literal["complete", "failed"]
    reason: str = ""
