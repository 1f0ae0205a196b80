"""Events of jobs and their deployments."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec
from msgspec import Struct

from heroctl.domain.events.event import Event, Writer


class TaskSummary(Struct, frozen=True, gc=False, array_like=True):
    """What the fold needs of a task without reading the spec."""

    name: str
    count: int
    content: str  # digest of what its containers are made from
    policy: str = ""  # digest of what its agent does with them: health and restart


class JobSubmitted(Event, frozen=True, gc=False, omit_defaults=True):
    """An accepted new version. `uid` 0: the job is new, and this event's index becomes its uid."""

    TAG: ClassVar[str] = "job.submitted"
    uid: int
    namespace: str
    name: str
    version: int
    spec: msgspec.Raw
    tasks: tuple[TaskSummary, ...]
    by: str = ""


class JobStopped(Event, frozen=True, gc=False, omit_defaults=True):
    """A user wants none of the job's replicas; the job itself stays."""

    TAG: ClassVar[str] = "job.stopped"
    uid: int
    namespace: str
    name: str


class JobDeleted(Event, frozen=True, gc=False, omit_defaults=True):
    """The name is free from here on; the record stays until the last allocation is confirmed stopped."""

    TAG: ClassVar[str] = "job.deleted"
    uid: int
    namespace: str
    name: str


class JobBlocked(Event, frozen=True, gc=False, omit_defaults=True):
    """Some replicas fit nowhere, and why; no reasons: everything fits again."""

    TAG: ClassVar[str] = "job.blocked"
    WRITER: ClassVar[Writer] = "decision"
    uid: int
    namespace: str
    name: str
    reasons: tuple[str, ...] = ()


class JobPlanFailed(Event, frozen=True, gc=False, omit_defaults=True):
    """Planning the job raised, or decided what must never be. The third in a row quarantines it."""

    TAG: ClassVar[str] = "job.plan_failed"
    WRITER: ClassVar[Writer] = "decision"
    uid: int
    namespace: str
    name: str
    error: str
    release: str = ""  # of the reconciler; another release may try again


class JobDeployed(Event, frozen=True, gc=False, omit_defaults=True):
    """All replicas of a version have been healthy for their min_healthy_time; once per deployment."""

    TAG: ClassVar[str] = "job.deployed"
    WRITER: ClassVar[Writer] = "decision"
    uid: int
    namespace: str
    name: str
    version: int
    deployment: str


class JobFailed(Event, frozen=True, gc=False, omit_defaults=True):
    """A deployment failed, and the way back is complete or there is none."""

    TAG: ClassVar[str] = "job.failed"
    WRITER: ClassVar[Writer] = "decision"
    uid: int
    namespace: str
    name: str
    version: int
    deployment: str
    reason: str
    reverted_to: int | None = None


class DeploymentFinished(Event, frozen=True, gc=False, omit_defaults=True):
    """A deployment ended, with which status and why."""

    TAG: ClassVar[str] = "deployment.finished"
    WRITER: ClassVar[Writer] = "decision"
    deployment: str
    uid: int
    namespace: str
    name: str
    status: Literal["successful", "failed", "cancelled"]
    reason: str = ""
