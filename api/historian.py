"""The child process that answers what was: `python -m api.historian`.

A state of the past costs the memory of a whole state, and folding it costs seconds of a processor: neither may be taken
from the loop that serves. It reads on standard input its orders, then questions, a line of JSON each; it answers on
standard output with a line that says how it went and how many bytes follow. When its parent goes, so does it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from dataclasses import dataclass, field
from typing import BinaryIO, Final

import msgspec

from api import allocations, deployments, jobs, launches, nodes, versions
from api.items import Items
from api.questions import Orders, Question, Told, compacted, name_of
from api.reads import PastReader, Query
from eventstore.database import Database
from eventstore.log import Compacted, LogUnavailable, OtherHistory
from eventstore.past import Past
from eventstore.postgres import PostgresLog
from eventstore.shelf import PostgresShelf
from eventstore.snapshots import Snapshots
from heroctl import logs
from heroctl.domain.errors import Conflict, NotFound, Refusal, Unavailable
from heroctl.domain.state import State

_COLLECT: Final = (50_000, 20, 50)  # as in an api
_NICE: Final = 5
_READERS: Final[tuple[PastReader, ...]] = (
    jobs.listing,
    jobs.detail,
    versions.listing,
    versions.compare,
    launches.listing,
    deployments.listing,
    deployments.detail,
    allocations.listing,
    allocations.detail,
    nodes.listing,
    nodes.detail,
)


READERS: Final = {name_of(reader): reader for reader in _READERS}


class Silence:
    """What is known of the living, in the past: nothing. Today's figures must not stand beside yesterday's facts."""

    def silence(self, node: str) -> None:
        """See Signs.silence."""
        del node

    def stats_of(self, node: str) -> dict[str, float]:
        """See Signs.stats_of."""
        del node
        return {}


@dataclass(slots=True)
class Then:
    """The fold as it was."""

    state: State
    items: Items = field(default_factory=Items)
    pulse: Silence = field(default_factory=Silence)


class Historian:
    """Answers questions, one after the other."""

    def __init__(self, past: Past) -> None:
        self._past = past

    async def answer(self, question: Question) -> bytes:
        """Give the body. Raises Refusal."""
        index = question.index
        try:
            state = await self._past.go(index)
            return READERS[question.reader](Then(state), Query(question.path, question.args, question.scope)).make()
        except (NotFound, Conflict) as refusal:
            raise type(refusal)(refusal.code, f"at index {index}: {refusal.message}", details=refusal.details) from None
        except Compacted as gone:
            raise compacted(gone.floor) from None
        except LogUnavailable:
            raise Unavailable("log_unavailable", "the log cannot be reached: try again", retry_after=2) from None
        except OtherHistory as error:
            message = f"the log is not whole, or was replaced just now ({error}): heroctl log verify tells"
            raise Unavailable("log_broken", message, retry_after=5) from None


def main() -> int:
    """Answer until standard input ends."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever logs would spoil the answers
    os.nice(_NICE)
    logs.configure("warning")
    gc.set_threshold(*_COLLECT)
    asyncio.run(_serve(out))
    return 0


async def _serve(out: BinaryIO) -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    questions: asyncio.Queue[Question] = asyncio.Queue()
    orders = msgspec.json.decode(await lines.readline(), type=Orders)
    listening = asyncio.get_running_loop().create_task(_listen(lines, questions))
    async with Database(orders.dsn, direct=orders.direct or None, connections=1) as database:
        log = PostgresLog(database)
        snapshots = Snapshots(PostgresShelf(database), log)
        historian = Historian(Past(log, snapshots.load))
        while not listening.done():
            await _reply(historian, await questions.get(), out)


async def _listen(lines: asyncio.StreamReader, questions: asyncio.Queue[Question]) -> None:
    async for line in lines:
        questions.put_nowait(msgspec.json.decode(line, type=Question))
    os._exit(0)  # nobody is left who wants an answer


async def _reply(historian: Historian, question: Question, out: BinaryIO) -> None:
    body = b""
    try:
        body = await historian.answer(question)
        told = Told(len(body))
    except Refusal as refusal:
        told = Told(
            0, refusal.status, refusal.code, refusal.message, tuple(refusal.details), retry_after=refusal.retry_after
        )
    out.write(msgspec.json.encode(told) + b"\n" + body)
    out.flush()


if __name__ == "__main__":
    sys.exit(main())
