"""What the next release knows: `job.stopped` in a second schema, and a field of the spec that this one did not have."""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec
import pytest

from heroctl.domain import events
from heroctl.domain.events import Event
from heroctl.domain.events.schemas import STEPS, Payload, Step
from heroctl.domain.evolve import FOLDS
from heroctl.domain.intents import jobs
from heroctl.domain.level import FIELDS
from heroctl.domain.spec import Task

TAG: Final = events.JobStopped.TAG
LEVEL: Final = 2


class JobStopped(Event, frozen=True, gc=False, omit_defaults=True):
    """A user wants none of the job's replicas, and may say why."""

    TAG: ClassVar[str] = events.JobStopped.TAG
    SCHEMA: ClassVar[int] = 2
    LEVEL: ClassVar[int] = LEVEL
    uid: int
    namespace: str
    called: str  # was `name`
    why: str = ""


def learn(patch: pytest.MonkeyPatch) -> None:
    """Make this process one of the next release."""
    known = events._DECODERS
    patch.setitem(known, (TAG, 2), msgspec.json.Decoder(JobStopped))
    patch.delitem(known, (TAG, 1))
    patch.setitem(events.EVENTS, TAG, JobStopped)
    patch.setitem(STEPS, (TAG, 1), Step(_up, _down))
    kind: type[Event] = JobStopped
    patch.setitem(FOLDS, kind, FOLDS[events.JobStopped])
    patch.setitem(FIELDS, field(Task, "stop_signal"), LEVEL)
    patch.setattr(jobs, "JobStopped", JobStopped)


def field(kind: type[msgspec.Struct], name: str) -> tuple[type[msgspec.Struct], str]:
    """Name a field as FIELDS does."""
    return kind, name


def _up(payload: Payload) -> Payload:
    return {("called" if name == "name" else name): value for name, value in payload.items()}


def _down(payload: Payload) -> Payload | None:
    if payload.get("why"):
        return None
    return {("name" if name == "called" else name): value for name, value in payload.items()}
