"""Events of jobs and their deployments."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

import msgspec
from msgspec import Struct

from heroctl.domain.events.event import Event, Writer
from heroctl.domain.lifecycle import DeploymentKind
from heroctl.domain.spec import JobType, Strategy

NO_SPEC: Final = msgspec.Raw(b"")


class TaskSummary(Struct, frozen=True, gc=False, array_like=True):
    """What the fold needs of a task without reading the spec."""

    name: str
    count: int
    content: str  # digest of what its containers are made from
    policy: str = ""  # digest of what its agent does with them: health and restart
    image: str = ""  # the digest that its image's tag stood for: `sha256:…`; "": not known
    pins: tuple[tuple[str, int], ...] = ()  # the secrets it is made with, by name, and which version; 0: there was none
    pull: str = ""  # the secret that does no more than pull its image: whichever version is the newest

    @property
    def named(self) -> tuple[str, ...]:
        """The secrets it uses, in whichever way."""
        names = tuple(name for name, _ in self.pins)
        return (*names, self.pull) if self.pull else names

    @property
    def secrets(self) -> dict[str, int | None]:
        """The secrets it is made with, as people are shown them."""
        return {name: number or None for name, number in self.pins}


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
    strategy: Strategy = "rolling"
    kind: DeploymentKind = "submit"
    of: int | None = None  # the version that it repeats
    priority: int = 50
    type: JobType = "service"
    launch: int = 0  # of a batch job: number of the launch that begins with it; 0: none does
    clock: bool = False  # of a batch job: its scheduled times count from here


class JobRestarted(Event, frozen=True, gc=False, omit_defaults=True):
    """A user wants all replicas replaced by ones of the same version, as by a deployment. It makes no version.

    Unless secrets are others by now: then `tasks` are those of a version that is the present one otherwise, and is made
    with these. Of a batch job: it is launched again.
    """

    TAG: ClassVar[str] = "job.restarted"
    uid: int
    namespace: str
    name: str
    version: int
    by: str = ""
    launch: int = 0  # of a batch job
    tasks: tuple[TaskSummary, ...] = ()  # of a new version


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
    """All replicas of a version have been healthy for min_healthy_time; once per deployment, never for a revert."""

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


class JobRepinned(Event, frozen=True, gc=False, omit_defaults=True):
    """Secrets that the job uses have changed: a new version that is the present one otherwise, made with these."""

    TAG: ClassVar[str] = "job.repinned"
    WRITER: ClassVar[Writer] = "decision"
    uid: int
    namespace: str
    name: str
    version: int
    tasks: tuple[TaskSummary, ...]
    secrets: tuple[str, ...]  # those whose versions are others


class JobReverted(Event, frozen=True, gc=False, omit_defaults=True):
    """The way back from a failed deployment: a new version that repeats, to the byte, the last stable one.

    Where a scale asked for other counts since then it has those: `spec` and `tasks` are given, and differ only in them.
    """

    TAG: ClassVar[str] = "job.reverted"
    WRITER: ClassVar[Writer] = "decision"
    uid: int
    namespace: str
    name: str
    version: int
    of: int  # the version that it repeats
    deployment: str  # the one that failed
    spec: msgspec.Raw = NO_SPEC
    tasks: tuple[TaskSummary, ...] = ()


class JobRebalanceRequested(Event, frozen=True, gc=False, omit_defaults=True):
    """A user wants replicas to move that would be clearly better elsewhere."""

    TAG: ClassVar[str] = "job.rebalance_requested"
    uid: int
    namespace: str
    name: str


class JobRebalanceBegun(Event, frozen=True, gc=False, omit_defaults=True):
    """The same, by the cluster itself: it is set to do so when a node joins."""

    TAG: ClassVar[str] = "job.rebalance_begun"
    WRITER: ClassVar[Writer] = "decision"
    uid: int
    namespace: str
    name: str


class JobRebalanced(Event, frozen=True, gc=False, omit_defaults=True):
    """No replica would be clearly better elsewhere any more, or each has moved once; so many did.

    One that was to move and has not, as there is no room elsewhere any more, stays where it is.
    """

    TAG: ClassVar[str] = "job.rebalanced"
    WRITER: ClassVar[Writer] = "decision"
    uid: int
    namespace: str
    name: str
    moved: int = 0


class ImagePinned(Event, frozen=True, gc=False, omit_defaults=True):
    """An agent has pulled a version's image: what its tag stood for is the version's image from here on."""

    TAG: ClassVar[str] = "image.pinned"
    WRITER: ClassVar[Writer] = "decision"
    uid: int
    namespace: str
    name: str
    version: int
    task: str
    image: str  # `sha256:…`


class DeploymentPromoted(Event, frozen=True, gc=False, omit_defaults=True):
    """A user finds the new version good: all of the way, or `step`: as far as the next share of the traffic."""

    TAG: ClassVar[str] = "deployment.promoted"
    deployment: str
    uid: int
    namespace: str
    name: str
    step: bool = False


class DeploymentPaused(Event, frozen=True, gc=False, omit_defaults=True):
    """A user wants a deployment to stand still."""

    TAG: ClassVar[str] = "deployment.paused"
    deployment: str
    uid: int
    namespace: str
    name: str


class DeploymentResumed(Event, frozen=True, gc=False, omit_defaults=True):
    """A paused deployment goes on; its clocks begin anew."""

    TAG: ClassVar[str] = "deployment.resumed"
    deployment: str
    uid: int
    namespace: str
    name: str


class DeploymentFailRequested(Event, frozen=True, gc=False, omit_defaults=True):
    """A user wants a deployment ended as failed, with the way back that this has."""

    TAG: ClassVar[str] = "deployment.fail_requested"
    deployment: str
    uid: int
    namespace: str
    name: str
    reason: str = ""


class DeploymentStepped(Event, frozen=True, gc=False, omit_defaults=True):
    """What goes before a promotion stands: the canaries have a share of the traffic, or a full new set is healthy.

    `awaiting`: a user has to promote it; `promoted`: it went on by itself, and all the way.
    """

    TAG: ClassVar[str] = "deployment.stepped"
    WRITER: ClassVar[Writer] = "decision"
    deployment: str
    uid: int
    namespace: str
    name: str
    step: int = 0  # of the canary's shares of the traffic
    awaiting: bool = False
    promoted: bool = False


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
