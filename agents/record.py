"""What an agent remembers of an allocation, and how an attempt of it ends. Pure.

(attempt, phase) only rises; `complete` and `failed` are final.
"""

from __future__ import annotations

import hashlib
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from heroctl.domain.assignment import Report, Signalled
from heroctl.domain.lifecycle import RANK, Health, Phase
from heroctl.domain.spec import Restart

MESSAGE_BYTES: Final = 1024
_JITTER: Final = 0.25


class Record(Struct, frozen=True, omit_defaults=True):
    """What an agent remembers of an allocation. Times are of the machine's monotonic clock, in seconds."""

    alloc: str
    attempt: int = 0
    phase: Phase = "pending"
    container: str = ""
    run: str = ""  # of the container: another one is another attempt
    ports: dict[str, int] = field(default_factory=dict)
    started_at: float | None = None
    begun: tuple[float, ...] = ()  # when attempts were begun again
    not_before: float = 0.0
    counts: bool = False  # whether the next attempt is a restart by the spec's policy
    failed_attempt: int = 0
    exit_code: int | None = None
    oom: bool = False
    reason: str = ""
    message: str = ""  # prose about `reason`
    image: str = ""  # what the tag stood for that the newest container was made from
    absent: bool = False  # the image is not here yet
    waiting: str = ""  # why a start is put off: a code; nothing has ended for it
    waiting_for: str = ""  # prose about it
    avoid: tuple[int, ...] = ()  # host ports found taken by others
    stopping_at: float = 0.0  # when it was first to end: out of the traffic from then on
    ending: str = ""  # the container that was asked to end
    ending_at: float = 0.0
    killed_at: float = 0.0
    signalling: int = 0  # number of the signal that is being sent
    signalled: tuple[Signalled, ...] = ()  # what became of the newest ones


def fresh(record: Record) -> Record:
    """Forget what belongs to one container; the next one has nothing of it."""
    return replace(
        record,
        container="",
        run="",
        started_at=None,
        not_before=0.0,
        counts=False,
        waiting="",
        waiting_for="",
        stopping_at=0.0,
        ending="",
        ending_at=0.0,
        killed_at=0.0,
    )


def stopping(record: Record, now: float) -> Record:
    """It is to end, and is out of the traffic from now on. What began already goes on."""
    if RANK[record.phase] >= RANK["stopping"]:
        return record
    return replace(record, phase="stopping", stopping_at=now)


def over(record: Record, policy: Restart, now: float, *, reason: str, message: str) -> Record:
    """The attempt ended unasked: another follows as the policy says, or the allocation has failed."""
    begun = recent(record, policy, now)
    record = replace(record, begun=begun, failed_attempt=record.attempt, reason=reason, message=message)
    delay = policy.delay.seconds * (1 + _JITTER * _fraction(record.alloc, record.attempt))
    if len(begun) < policy.attempts:
        return ended(record, now + delay, counts=True)
    if policy.mode == "delay":
        free_at = (begun[-policy.attempts] if begun and policy.attempts else now) + policy.interval.seconds
        return ended(record, max(now + delay, free_at), counts=True)
    return failed(record, reason, message)


def ended(record: Record, not_before: float, *, counts: bool = False) -> Record:
    """The attempt is over and another follows, not before the time given. `counts`: as a restart by the policy."""
    return replace(
        record,
        phase="ended",
        not_before=not_before,
        counts=counts,
        started_at=None,
        waiting="",
        waiting_for="",
        stopping_at=0.0,
        ending="",
        ending_at=0.0,
        killed_at=0.0,
    )


def failed(record: Record, reason: str, message: str) -> Record:
    """The allocation is over for good, and not as asked."""
    return replace(
        record,
        phase="failed",
        failed_attempt=record.attempt,
        reason=reason,
        message=message,
        started_at=None,
        not_before=0.0,
        waiting="",
        waiting_for="",
    )


def waiting(record: Record, code: str, message: str) -> Record:
    """It cannot be started yet, and nothing is wrong with it. Prose is that of the first time."""
    return record if record.waiting == code else replace(record, waiting=code, waiting_for=message)


def completed(record: Record) -> Record:
    """The allocation is over for good: it has done what it was to do."""
    return replace(record, phase="complete", reason="", message="", started_at=None, not_before=0.0)


def interrupted(record: Record) -> Record:
    """The workload was stopped together with its agent: it is begun again at once, and no restart is counted."""
    return ended(record, 0.0) if record.phase in ("starting", "running", "stopping") else record


def restored(record: Record, shift: float) -> Record:
    """Take up a record after a restart of the agent. `shift`: what to add to times of a boot that is over."""
    return replace(
        record,
        started_at=None if record.started_at is None else record.started_at + shift,
        begun=tuple(at + shift for at in record.begun),
        not_before=record.not_before + shift if record.not_before else 0.0,
        stopping_at=record.stopping_at + shift if record.stopping_at else 0.0,
        ending="",
        ending_at=0.0,
        killed_at=0.0,
    )


def report(
    record: Record, now: float, *, address: str, health: Health, healthy_since: float | None, said: str
) -> Report:
    """Say all there is to say of an allocation. `said`: what its health check said last, when it said no.

    A check that has never said yes is told of, too, unless there is an earlier attempt's end to tell of.
    """
    running = record.phase == "running"
    unhealthy = running and health == "unhealthy"
    asked = unhealthy or (running and health == "unknown" and not record.reason)
    reason, message = _waited(record) if record.phase == "starting" else (record.reason, record.message)
    return Report(
        alloc=record.alloc,
        attempt=record.attempt,
        phase=record.phase,
        health=health if running else "unknown",
        restarts=len(record.begun),
        exit_code=record.exit_code,
        oom=record.oom,
        failed_attempt=record.failed_attempt,
        reason="unhealthy" if unhealthy else reason,
        message=_short(said if asked else message),
        ports=record.ports,
        address=address,
        running_for=_elapsed(now, record.started_at) if running else None,
        healthy_for=_elapsed(now, healthy_since) if running and health == "healthy" else None,
        container=record.container[:12],
        image=record.image,
        signalled=list(record.signalled),
    )


def _waited(record: Record) -> tuple[str, str]:
    """Say why a start is put off, below how the attempt before it ended: that one may not have been heard of yet."""
    if not record.waiting:
        return record.reason, record.message
    if not record.reason:
        return record.waiting, record.waiting_for
    return record.reason, f"{record.message}\n{record.waiting_for}"


def visible(record: Record) -> tuple[object, ...]:
    """Return what others see of a record: a change of anything else is not worth a report."""
    return (
        *(record.attempt, record.phase, record.container, record.ports, len(record.begun)),
        *(record.failed_attempt, record.exit_code, record.oom, record.reason, record.message, record.image),
        *(record.waiting, record.signalled),
    )


def recent(record: Record, policy: Restart, now: float) -> tuple[float, ...]:
    """When attempts were begun again within the policy's interval up to now, oldest first."""
    return tuple(at for at in record.begun if at > now - policy.interval.seconds)


def _elapsed(now: float, since: float | None) -> float | None:
    return None if since is None else round(max(0.0, now - since), 3)


def _short(message: str) -> str:
    return message.encode()[:MESSAGE_BYTES].decode(errors="ignore")


def _fraction(alloc: str, attempt: int) -> float:
    """Spread restarts: the same attempt always waits equally long, different ones do not."""
    hashed = hashlib.blake2b(f"{alloc}/{attempt}".encode(), digest_size=4).digest()
    return int.from_bytes(hashed) / (1 << 32)
