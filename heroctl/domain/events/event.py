"""What every event is, and where it stands."""

from __future__ import annotations

from typing import ClassVar, Literal

from msgspec import Struct

Writer = Literal["intent", "report", "decision"]


class Event(Struct, frozen=True, gc=False, omit_defaults=True):
    """Something that happened. Subclasses are the payloads.

    `LEVEL` is the log's level from which the tag, in its present schema, may be written: releases that cannot fold it
    are all gone by then. `schemas` tells how earlier schemas are read, and written below that level.
    """

    TAG: ClassVar[str] = ""
    SCHEMA: ClassVar[int] = 1
    LEVEL: ClassVar[int] = 1
    WRITER: ClassVar[Writer] = "intent"


class Opaque(Event, frozen=True, gc=False):
    """An event that this release does not know, kept byte for byte."""

    tag: str
    schema: int
    data: bytes


class Meta(Struct, frozen=True, gc=False, omit_defaults=True):
    """Who caused an append, and under which request."""

    actor: str = ""
    request_id: str = ""
    address: str = ""


class Record(Struct, frozen=True, gc=False):
    """An event in its place: `index` in the log, `last` index of its append, `time` in ms since the epoch."""

    index: int
    last: int
    time: int
    event: Event
    meta: Meta = Meta()
