"""Events and appends that tests of the log are made from."""

from __future__ import annotations

from eventstore import codec
from eventstore.log import Append, Key, Log, Position
from heroctl.domain.events import CoordinatorElected, JobDeleted, JobStopped, Meta, NodeRemoved, Record


def stopped(n: int = 0) -> JobStopped:
    """An intent's event, told apart by its uid."""
    return JobStopped(n, "default", f"job-{n}")


def key(name: str, body: str = "") -> Key:
    """A client's key, told apart by its name."""
    return Key(name.encode(), body.encode() or b"body")


def unchanged(under: Key, stream: str = "", seen: int = 0) -> Append:
    """An append of a keyed call that had nothing to change."""
    return Append((), expects=((stream, seen),) if stream else (), key=under)


def intent(*events: int, stream: str = "", seen: int | None = None, under: Key | None = None) -> Append:
    """An append of one event a number, moving a stream and expecting it where the writer saw it."""
    moves = (stream,) if stream else ()
    expects = () if seen is None else ((stream, seen),)
    return Append(tuple(stopped(n) for n in events or (0,)), moves, expects, meta=Meta("tester", "req_1"), key=under)


def other(n: int) -> Append:
    """An append of another kind, without streams."""
    return Append((JobDeleted(n, "default", "web"), NodeRemoved(str(n), "n-1")))


def decision(epoch: int | None) -> Append:
    """A decision under an epoch."""
    return Append((CoordinatorElected("me", 7),), epoch=epoch)


async def everything(log: Log, after: int = 0) -> list[Record]:
    """Read the log to its end."""
    return [record async for records in log.read(after) for record in records]


async def verified(log: Log, position: Position | None = None) -> Position:
    """Read the log to its end, checking number and chain."""
    position = position or Position()
    while rows := await log.page(position.index):
        position = codec.verify(rows, position)
    return position


async def numbers(log: Log) -> list[int]:
    """The numbers of all intents in the log, in order."""
    return [record.event.uid for record in await everything(log) if isinstance(record.event, JobStopped)]
