"""`?at=`: what a GET of state would have answered at another moment, judged by today's rights.

A moment is rounded down to a whole append, so that an answer has one index and is the same for ever: it is kept and
shared by (query, index). It is made by a child process (`api.historian`); how many of them there are, how many may wait
for one and for how long is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import Final, Protocol, Self

import msgspec
import structlog
from msgspec import Struct

from api.answer import Answer, Header
from api.questions import Orders, Question, Told, compacted
from api.reads import Page
from api.wire import stamp
from eventstore.log import Log
from eventstore.past import Outside, Place, find
from heroctl.domain import moment
from heroctl.domain.errors import Conflict, Gone, Invalid, NotFound, Problem, Refusal, Unavailable
from heroctl.domain.moment import Ago, At, Instant

TIME: Final = b"x-heroctl-at"  # the time of the append that an answer is as of
_QUEUE: Final = 16  # answers that are being made or wait to be
_LONGEST: Final = 600.0  # seconds that a child may take for one
_IDLE: Final = 60.0  # seconds without a question after which a child goes, and its memory with it
_MOST_PAGES: Final = 1024
_MOST_BYTES: Final = 64 << 20
_LINE: Final = 1 << 20
_KINDS: Final[dict[int, type[Refusal]]] = {
    kind.status: kind for kind in (Invalid, NotFound, Conflict, Gone, Unavailable)
}
_log: Final = structlog.get_logger(__name__)


class Teller(Protocol):
    """Who knows what was."""

    async def tell(self, question: Question) -> bytes:
        """Give the body of an answer. Raises Refusal."""
        ...

    def forget(self) -> None:
        """Forget everything: the history is another one."""
        ...


class Archive:
    """Answers of the past, kept and shared. `clock` gives seconds since the epoch, `patience` is in seconds."""

    def __init__(self, log: Log, teller: Teller, clock: Callable[[], float], *, patience: float = 30.0) -> None:
        self._log = log
        self._teller = teller
        self._clock = clock
        self._patience = patience
        self._pages: OrderedDict[object, Page] = OrderedDict()
        self._bytes = 0
        self._making: dict[object, asyncio.Task[Page]] = {}

    async def place(self, text: str) -> Place:
        """Find the append that a moment is rounded down to. Raises `invalid_at` or `index_compacted`."""
        now = int(self._clock() * 1000)
        try:
            return await find(self._log, _moment(text, now), now)
        except Outside as outside:
            if outside.compacted is not None:
                raise compacted(outside.compacted) from None
            raise invalid(str(outside)) from None

    async def page(self, key: object, question: Question, place: Place) -> Page:
        """Give an answer as of a place. Raises what its reader raised, `busy` or `past_timeout`.

        An answer that takes too long is made all the same, for those who ask again.
        """
        key = (key, place.index)
        known = self._pages.get(key)
        if known is not None:
            self._pages.move_to_end(key)
            return known
        making = self._making.get(key)
        if making is None:
            if len(self._making) >= _QUEUE:
                raise Unavailable("busy", "too many questions about the past are waiting: try again", retry_after=2)
            making = self._making[key] = asyncio.get_running_loop().create_task(self._make(key, question, place))
            making.add_done_callback(lambda task: self._made(key, task))
        done, _ = await asyncio.wait({making}, timeout=self._patience)
        if not done:
            message = f"the state at index {place.index} is still being folded after {self._patience:g} s: ask again"
            raise Unavailable("past_timeout", message, retry_after=5)
        if making.cancelled():
            raise Unavailable("behind", "the log's history was replaced just now: try again", retry_after=1)
        return making.result()

    def forget(self) -> None:
        """Forget everything: the history is another one."""
        for making in self._making.values():
            making.cancel()
        self._pages.clear()
        self._bytes = 0
        self._teller.forget()

    async def _make(self, key: object, question: Question, place: Place) -> Page:
        body = await self._teller.tell(question)
        tag = b'"%s"' % blake2b(b"%d " % place.index + body, digest_size=12).hexdigest().encode()
        headers: list[Header] = [(b"etag", tag)]
        if place.time is not None:
            headers.append((TIME, stamp(place.time).encode()))
        page = Page(Answer(body, index=place.index, headers=headers), tag, "", place.index, math.inf)
        self._keep(key, page)
        return page

    def _keep(self, key: object, page: Page) -> None:
        self._pages[key] = page
        self._bytes += len(page.answer.body)
        while len(self._pages) > _MOST_PAGES or self._bytes > _MOST_BYTES:
            _, old = self._pages.popitem(last=False)
            self._bytes -= len(old.answer.body)

    def _made(self, key: object, task: asyncio.Task[Page]) -> None:
        if self._making.get(key) is task:
            del self._making[key]
        if not task.cancelled():
            task.exception()  # those who asked may all be gone


def _moment(text: str, now: int) -> At | Instant:
    try:
        found = moment.parse(text)
    except ValueError as error:
        raise invalid(str(error)) from None
    return found.instant(now) if isinstance(found, Ago) else found


def invalid(message: str) -> Invalid:
    """Refuse a moment that cannot be asked for."""
    problem = Problem("at", "invalid_at", message)
    return Invalid("invalid_at", f"at: {message}", details=(problem,))


# ── the children ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Historians:
    """At most `most` child processes, started when one is needed and ended when none was for a minute."""

    def __init__(self, dsn: str, direct: str = "", *, most: int = 1, idle: float = _IDLE) -> None:
        self._orders = Orders(dsn, direct)
        self._free = asyncio.Semaphore(most)
        self._idle = idle
        self._resting: list[_Child] = []
        self._busy: set[_Child] = set()
        self._ending: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.forget()
        await asyncio.gather(*self._ending)

    async def tell(self, question: Question) -> bytes:
        """See Teller.tell."""
        async with self._free:
            child = self._take(question.index)
            if child is not None:
                with contextlib.suppress(_Ended):  # it died at rest; another one may do better
                    return await self._ask(child, question)
            try:
                return await self._ask(await _Child.start(self._orders), question)
            except _Ended as error:
                _log.error("past_failed", index=question.index, error=str(error))
                message = "the process that folds the past ended: it may lack memory"
                raise Unavailable("past_failed", message, retry_after=10) from error

    async def _ask(self, child: _Child, question: Question) -> bytes:
        self._busy.add(child)
        try:
            async with asyncio.timeout(_LONGEST):
                told, body = await child.ask(question)
        except (TimeoutError, OSError, EOFError, msgspec.MsgspecError) as error:
            self._end(child)
            raise _Ended(str(error) or type(error).__name__) from error
        except BaseException:
            self._end(child)  # it is in the middle of something that nobody wants
            raise
        finally:
            self._busy.discard(child)
        self._rest(child)
        if told.status >= 400:
            kind = _KINDS.get(told.status, Unavailable)
            raise kind(told.code, told.message, details=told.details, retry_after=told.retry_after)
        return body

    def forget(self) -> None:
        """End all children."""
        resting, self._resting = self._resting, []
        for child in (*resting, *self._busy):
            self._end(child)

    def _take(self, index: int) -> _Child | None:
        """Prefer the child that has the shortest way: the furthest of those that are not beyond."""
        if not self._resting:
            return None
        child = max(self._resting, key=lambda each: (each.index <= index, each.index))
        self._resting.remove(child)
        child.wake()
        return child

    def _rest(self, child: _Child) -> None:
        if child.ended:
            return
        self._resting.append(child)
        child.sleep(self._idle, lambda: self._retire(child))

    def _retire(self, child: _Child) -> None:
        self._resting.remove(child)
        self._end(child)

    def _end(self, child: _Child) -> None:
        child.end()
        ending = asyncio.get_running_loop().create_task(child.gone())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


class _Ended(Exception):  # noqa: N818 - what became of a child
    """A child did not answer."""


class _Child:
    """One child process; `index`: where its state stands."""

    def __init__(self, process: asyncio.subprocess.Process, orders: Orders) -> None:
        self.index = 0
        self._orders: Orders | None = orders
        self.ended = False
        self._process = process
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    async def start(cls, orders: Orders) -> _Child:
        """Start one. The orders hold a password: they go where nobody else reads them. Raises _Ended."""
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "api.historian",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LINE, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise _Ended(str(error)) from error
        return cls(process, orders)

    async def ask(self, question: Question) -> tuple[Told, bytes]:
        """Ask, and wait for the answer. Raises OSError, EOFError or MsgspecError where the child is no more."""
        if self._orders is not None:
            self._say(self._orders)
            self._orders = None
        self._say(question)
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        told = msgspec.json.decode(await self._process.stdout.readline(), type=Told)
        body = await self._process.stdout.readexactly(told.size)
        self.index = question.index
        return told, body

    def sleep(self, seconds: float, end: Callable[[], None]) -> None:
        """Call back after so long, unless it is woken before."""
        self._timer = asyncio.get_running_loop().call_later(seconds, end)

    def wake(self) -> None:
        """Stay."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def end(self) -> None:
        """Kill it: it holds nothing that counts."""
        self.wake()
        self.ended = True
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def gone(self) -> None:
        """Wait until nothing is left of it."""
        await self._process.wait()

    def _say(self, what: Struct) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        if self._process.stdin.is_closing():
            raise EOFError("it ended before it was asked")
        self._process.stdin.write(msgspec.json.encode(what) + b"\n")
