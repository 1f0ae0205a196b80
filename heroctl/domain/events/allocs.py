"""Events of allocations."""

from __future__ import annotations

from typing import ClassVar

from heroctl.domain.assignment import Report
from heroctl.domain.events.event import Event, Writer


class AllocPlaced(Event, frozen=True, gc=False, omit_defaults=True):
    """A slot of a task goes to a node. `n` numbers the job's allocations and never goes back."""

    TAG: ClassVar[str] = "alloc.placed"
    WRITER: ClassVar[Writer] = "decision"
    id: str
    uid: int
    n: int
    namespace: str
    job: str
    task: str
    slot: int
    version: int
    content: str
    node: str
    cpu: float
    memory: int
    disk: int
    host_ports: tuple[int, ...] = ()
    deployment: str = ""
    volumes: tuple[str, ...] = ()  # `namespace/name` of those that are its alone
    replaces: str = ""
    reschedules: int = 0  # how often this slot has been rescheduled after failures, in a row
    launch: int = 0  # of a batch job: number of the launch that it is of


class AllocStopRequested(Event, frozen=True, gc=False, omit_defaults=True):
    """A user wants this one stopped; its slot is filled again."""

    TAG: ClassVar[str] = "alloc.stop_requested"
    alloc: str
    namespace: str
    job: str


class AllocRestartRequested(Event, frozen=True, gc=False, omit_defaults=True):
    """A user wants it begun anew where it is: attempts up to this one are to end, and another follows."""

    TAG: ClassVar[str] = "alloc.restart_requested"
    alloc: str
    namespace: str
    job: str
    attempt: int


class AllocSignalRequested(Event, frozen=True, gc=False, omit_defaults=True):
    """A user sends a signal to what runs in an attempt. `number` counts the allocation's signals."""

    TAG: ClassVar[str] = "alloc.signal_requested"
    alloc: str
    namespace: str
    job: str
    attempt: int
    number: int
    signal: str


class AllocExecRequested(Event, frozen=True, gc=False, omit_defaults=True):
    """A user has a command run beside what runs in it. Its agent asks the `api` that waits for it, by its id."""

    TAG: ClassVar[str] = "alloc.exec_requested"
    alloc: str
    namespace: str
    job: str
    exec: str
    api: str
    command: tuple[str, ...]
    tty: bool = False


class AllocExecEnded(Event, frozen=True, gc=False, omit_defaults=True):
    """A command has ended, or nobody waits for it any more. `reason`: why no exit code is known."""

    TAG: ClassVar[str] = "alloc.exec_ended"
    alloc: str
    namespace: str
    job: str
    exec: str
    seconds: float
    received: int  # bytes that it was given
    sent: int  # bytes that it wrote
    exit_code: int | None = None
    reason: str = ""


class AllocStopping(Event, frozen=True, gc=False, omit_defaults=True):
    """The coordinator wants it stopped: scaled_down, updated, job_stopped, preempted … and `by` whom it makes way."""

    TAG: ClassVar[str] = "alloc.stopping"
    WRITER: ClassVar[Writer] = "decision"
    alloc: str
    namespace: str
    job: str
    reason: str
    by: str = ""  # the job that it makes way for


class AllocMisplaced(Event, frozen=True, gc=False, omit_defaults=True):
    """A better node was found for it: it moves there, within what its task's `migrate` allows."""

    TAG: ClassVar[str] = "alloc.misplaced"
    WRITER: ClassVar[Writer] = "decision"
    alloc: str
    namespace: str
    job: str
    reason: str


class AllocGivenUp(Event, frozen=True, gc=False, omit_defaults=True):
    """Final: the slot may be replaced, and should the node come back it stops this one."""

    TAG: ClassVar[str] = "alloc.given_up"
    WRITER: ClassVar[Writer] = "decision"
    alloc: str
    namespace: str
    job: str
    reason: str


class AllocReported(Event, frozen=True, gc=False, omit_defaults=True):
    """The whole observed status of an allocation, as its agent saw it."""

    TAG: ClassVar[str] = "alloc.reported"
    WRITER: ClassVar[Writer] = "report"
    node: str
    report: Report


class AllocFailed(Event, frozen=True, gc=False, omit_defaults=True):
    """An attempt ended unasked. In the same append as the report that shows it."""

    TAG: ClassVar[str] = "alloc.failed"
    WRITER: ClassVar[Writer] = "report"
    alloc: str
    namespace: str
    job: str
    task: str
    slot: int
    node: str  # the node's name
    attempt: int
    reason: str
    message: str = ""
    exit_code: int | None = None
    oom: bool = False
    will_restart: bool = False
