"""Group commit: one task that puts what is queued into one call, again and again, and no timer.

The unit of retry is the batch. Its id goes with it, so that a batch sent again after its connection broke gets its
first answer. A batch refused for any other reason is sent again one append at a time: only the culprit fails.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol
from uuid import UUID, uuid4

from eventstore.codec import Sealed
from eventstore.internals import INTERNALS
from eventstore.log import (
    Append,
    Appended,
    Busy,
    Conflicted,
    Displaced,
    Fenced,
    KeyReused,
    LogUnavailable,
    Rejected,
)

MAX_APPENDS: Final = 256
MAX_BYTES: Final = 1 << 20
_FIRST_PAUSE, _LAST_PAUSE = 0.05, 0.5  # seconds between attempts

Answer = Appended | Conflicted | Displaced | Fenced | KeyReused


class Sender(Protocol):
    """Where batches go."""

    async def ready(self) -> None:
        """Have a connection. Raises LogUnavailable."""
        ...

    async def send(self, batch: UUID, appends: Sequence[Sealed]) -> list[Answer]:
        """Append a batch. Raises LogUnavailable, `unknown` when the connection broke, or Rejected: the whole batch."""
        ...


class Waiting:
    """An append whose caller waits. `sent`: it may have happened."""

    __slots__ = ("answer", "sealed", "sent")

    def __init__(self, sealed: Sealed, answer: asyncio.Future[Appended]) -> None:
        self.sealed = sealed
        self.answer = answer
        self.sent = False


class Appender:
    """The queue, bounded by `queue` appends, and the task `run` that empties it.

    A caller is answered within `patience` seconds, whatever happens; `heard` gets the last index of each batch.
    """

    def __init__(
        self, sender: Sender, heard: Callable[[int], None], *, queue: int = 4096, patience: float = 10.0
    ) -> None:
        self._sender = sender
        self._heard = heard
        self._bound = queue
        self._patience = patience
        self._queue: deque[Waiting] = deque()
        self._filled = asyncio.Event()
        INTERNALS.gauge("heroctl_append_queue", "Appends that wait to be sent", lambda: len(self._queue))

    async def append(self, sealed: Sealed) -> Appended:
        """Wait for the answer to an append. Raises as Log.append."""
        if len(self._queue) >= self._bound:
            raise Busy
        began = time.perf_counter()
        waiting = Waiting(sealed, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._filled.set()
        try:
            async with asyncio.timeout(self._patience):
                return await waiting.answer
        except TimeoutError:
            if waiting.answer.cancelled():
                raise LogUnavailable("no answer from the database", unknown=waiting.sent) from None
            return waiting.answer.result()  # it came in the same moment
        finally:
            INTERNALS.append.observe(time.perf_counter() - began)

    async def run(self) -> None:
        """Send what is queued, for ever. When this ends, so does the waiting of everybody."""
        batch: list[Waiting] = []
        try:
            while True:
                await self._filled.wait()
                batch = cut(self._queue)
                if not self._queue:
                    self._filled.clear()
                await self._deliver(batch)
        finally:
            for waiting in (*batch, *self._queue):
                _settle(waiting, LogUnavailable("the log is closed", unknown=waiting.sent))
            self._queue.clear()

    async def _deliver(self, batch: list[Waiting]) -> None:
        try:
            answers = await self._insist(batch)
        except Rejected as error:
            if len(batch) == 1:
                _settle(batch[0], error)
                return
            for waiting in batch:
                await self._deliver([waiting])
            return
        except LogUnavailable as error:
            for waiting in batch:
                _settle(waiting, error)
            return
        last = max((answer.last for answer in answers if isinstance(answer, Appended)), default=0)
        if last:
            self._heard(last)
        for waiting, answer in zip(batch, answers, strict=False):
            _settle(waiting, answer)

    async def _insist(self, batch: list[Waiting]) -> list[Answer]:
        """Send a batch until its answer is known or nobody waits for it any more.

        Whoever gave up before it was ever sent was told that nothing happened: then nothing may. One that is refused
        after an answer was lost may have happened: under other ids it would do so twice. Raises LogUnavailable then.
        """
        identity = uuid4()
        sent, pause = False, _FIRST_PAUSE
        while not all(waiting.answer.done() for waiting in batch):
            try:
                await self._sender.ready()
                if not sent:
                    batch[:] = [waiting for waiting in batch if not waiting.answer.done()]
                if not batch:
                    break
                _mark(batch, sent=True)
                return await self._sender.send(identity, [waiting.sealed for waiting in batch])
            except LogUnavailable as error:
                sent = sent or error.unknown
                _mark(batch, sent=sent)
            except Rejected as error:
                if not sent:
                    raise
                raise LogUnavailable(f"refused, after an answer was lost: {error}", unknown=True) from error
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause = min(pause * 2, _LAST_PAUSE)
        return []


def cut(queue: deque[Waiting]) -> list[Waiting]:
    """Take the next batch off the queue; whoever no longer waits is passed over.

    It ends before an append that expects a stream which an earlier one of the batch moves, or that has its key: the
    database judges a whole batch on what stood before it.
    """
    batch: list[Waiting] = []
    moved: set[str] = set()
    keys: set[bytes] = set()
    size = 0
    while queue and len(batch) < MAX_APPENDS:
        sealed = queue[0].sealed
        if not queue[0].answer.done():
            size += sealed.size
            if batch and (size > MAX_BYTES or _rests(sealed.append, moved, keys)):
                break
            batch.append(queue[0])
            moved.update(sealed.append.moves)
            if sealed.append.key is not None:
                keys.add(sealed.append.key.name)
        queue.popleft()
    return batch


def _rests(append: Append, moved: set[str], keys: set[bytes]) -> bool:
    if append.key is not None and append.key.name in keys:
        return True
    return any(stream in moved for stream, _ in append.expects)


def _mark(batch: list[Waiting], *, sent: bool) -> None:
    for waiting in batch:
        waiting.sent = sent


def _settle(waiting: Waiting, answer: Answer | LogUnavailable | Rejected) -> None:
    if waiting.answer.done():
        return
    if isinstance(answer, Appended):
        waiting.answer.set_result(answer)
    else:
        waiting.answer.set_exception(answer)
