"""Long polls: a GET with `?index=N` is answered once its topic's index is above N, or after `?wait=` at the latest."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, Literal

from msgspec import Struct

from api.access import Principal
from api.answer import Receive
from api.query import number
from eventstore.view import View
from eventstore.waiters import Woken
from heroctl.domain.duration import Duration
from heroctl.domain.errors import Invalid, Problem, Refusal, TooMany

USUAL: Final = 300.0  # seconds
LONGEST: Final = 600.0
MOST_WAITERS: Final = 1_000  # of one token, in this process
MOST_STREAMS: Final = 100
JITTER: Final = 1 / 16  # of the wait, at most, so that those who began together do not all come back together
_SHORT: Final = re.compile(r"[0-9a-z.]{1,32}")

Outcome = Literal["moved", "timeout", "gone", "ended"]
Waiting = Callable[[int, float, asyncio.Future[Any]], Awaitable[Woken]]


class ClientLeft(Refusal):
    """499: for the log alone. Nobody is there to be answered, and the server must not make a 500 of that."""

    status = 499

    def __init__(self) -> None:
        super().__init__("client_left", "the client left before the answer")


class Poll(Struct, frozen=True, gc=False):
    """What a long poll asks: to know what is after `index`, within so many seconds."""

    index: int
    seconds: float


def poll_of(args: Mapping[str, str]) -> Poll | None:
    """Read `index` and `wait`; None: answer now. Raises `invalid_index` or `invalid_wait`."""
    index = number(args, "index")
    seconds = _seconds(args["wait"]) if "wait" in args else USUAL
    return Poll(index, min(seconds, LONGEST)) if index else None


def _seconds(text: str) -> float:
    try:
        if _SHORT.fullmatch(text) is None:
            raise ValueError("expected a duration such as 30s or 5m")  # noqa: TRY301 - one way out for both
        return Duration.parse(text).seconds
    except ValueError as error:
        problem = Problem("wait", "invalid_wait", str(error))
        raise Invalid("invalid_wait", f"wait: {error}", details=(problem,)) from None


class Waiters:
    """All open long polls of this process, so that they can be ended: when it drains, or when a token is revoked.

    A waiter costs one future and one timer (the view's), and one small task that listens for its client's leaving:
    nothing else tells that nobody is there any more. Ending a waiter is cancelling that task.
    """

    def __init__(
        self,
        view: View,
        chance: Callable[[], float] = random.random,
        *,
        waiters: int = MOST_WAITERS,
        streams: int = MOST_STREAMS,
    ) -> None:
        self.draining = False
        self._view = view
        self._chance = chance
        self._open: dict[asyncio.Task[None], Principal] = {}
        self._waiters = _Heads(waiters, "too_many_waiters", "long polls")
        self._streams = _Heads(streams, "too_many_streams", "streams")

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._open)

    async def wait(self, topic: str, poll: Poll, principal: Principal, receive: Receive, until: float) -> Outcome:
        """Wait for a topic. `until`: seconds from now at which the token ends; `ended`: drained, revoked or expired."""
        return await self.follow(partial(self._view.wait, topic), poll, principal, receive, until)

    async def follow(
        self, waiting: Waiting, poll: Poll, principal: Principal, receive: Receive, until: float
    ) -> Outcome:
        """Wait for whatever `waiting` waits for, which it is told the index, the seconds and the end of; as `wait`."""
        if self.draining:
            return "ended"
        seconds = min(poll.seconds * (1 - JITTER * self._chance()), max(until, 0.0))
        self._waiters.enter(principal.actor)
        listening = asyncio.get_running_loop().create_task(_hangup(receive))
        self._open[listening] = principal
        try:
            woken = await waiting(poll.index, seconds, listening)
        finally:
            self._waiters.leave(principal.actor)
            del self._open[listening]
            over = listening.done() and not listening.cancelled()
            listening.cancel()
        if over:
            listening.exception()  # a connection that breaks is gone as well
            return "gone"
        return woken

    async def reach(self, index: int, poll: Poll, principal: Principal, receive: Receive, until: float) -> Outcome:
        """Wait until the view has applied an index; as `wait` otherwise."""
        seconds = min(poll.seconds * (1 - JITTER * self._chance()), max(until, 0.0))
        with self._held(principal, receive, self._waiters) as listening:
            reaching = asyncio.ensure_future(self._view.reached(index, seconds))
            try:
                await asyncio.wait({reaching, listening}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                reaching.cancel()
            if reaching.done() and not reaching.cancelled():
                return "moved" if reaching.result() else "timeout"
            return "ended" if listening.cancelled() else "gone"

    def check(self, principal: Principal) -> None:
        """Raise `too_many_streams` where one more would be too many, for who must know before the answer begins."""
        self._streams.check(principal.actor)

    def hold(self, principal: Principal, receive: Receive) -> contextlib.AbstractContextManager[asyncio.Task[None]]:
        """Count a stream; the task is done when its client has left, cancelled when it is to end."""
        return self._held(principal, receive, self._streams)

    @contextlib.contextmanager
    def _held(self, principal: Principal, receive: Receive, heads: _Heads) -> Iterator[asyncio.Task[None]]:
        heads.enter(principal.actor)
        listening = asyncio.get_running_loop().create_task(_hangup(receive))
        self._open[listening] = principal
        if self.draining:
            listening.cancel()
        try:
            yield listening
        finally:
            heads.leave(principal.actor)
            del self._open[listening]
            if not listening.cancel() and not listening.cancelled():
                listening.exception()  # a connection that breaks is gone as well

    def end(self, keep: Callable[[Principal], bool]) -> None:
        """End the waiters of principals that are not to be kept."""
        judged: dict[Principal, bool] = {}
        for listening, principal in tuple(self._open.items()):
            if principal not in judged:
                judged[principal] = keep(principal)
            if not judged[principal]:
                listening.cancel()

    def drain(self) -> None:
        """End all, now and from now on."""
        self.draining = True
        self.end(lambda _: False)


class _Heads:
    """How many each has of what one may have so many of."""

    def __init__(self, most: int, code: str, what: str) -> None:
        self._most = most
        self._code = code
        self._what = what
        self._open: dict[str, int] = {}

    def enter(self, who: str) -> None:
        """Count one more. Raises TooMany."""
        self.check(who)
        self._open[who] = self._open.get(who, 0) + 1

    def check(self, who: str) -> None:
        """Raise TooMany where one more would be too many."""
        if self._open.get(who, 0) >= self._most:
            raise TooMany(self._code, f"a token may have {self._most} {self._what} open at a time", retry_after=1)

    def leave(self, who: str) -> None:
        """Count one less."""
        self._open[who] -= 1
        if not self._open[who]:
            del self._open[who]


async def _hangup(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass  # the request itself comes first
