"""Events and appends that tests of the log are made from."""

from __future__ import annotations

from eventstore import codec
from eventstore.log import Append, Log, Position
from heroctl.domain.events import CoordinatorElected, JobDeleted, JobStopped, Meta, NodeRemoved, Record


def stopped(n: int = 0) -> JobStopped:
    """An intent's event, told apart by its uid."""
    return JobStopped(n, "default", f"job-{n}")


def intent(*events: int, stream: str = "", seen: int | None = None) -> Append:
    """An append of one event a number, moving a stream and expecting it where the writer saw it."""
    moves = (stream,) if stream else ()
    expects = () if seen is None else ((stream, seen),)
    return Append(tuple(stopped(n) for n in events or (0,)), moves, expects, meta=Meta("tester", "req_1"))


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
