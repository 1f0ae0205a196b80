"""A webhook's sender: what is new in the order of the log, one after the other; beside it what is tried once more.

No sender waits for another. Of each, what is new waits for the delivery before it, and for nothing else: what failed
comes back by its own schedule. A receiver that keeps failing rests, and is tried by one delivery at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import msgspec
import structlog

from eventstore.deliveries import Attempt, Deliveries, Delivery
from eventstore.log import LogUnavailable
from heroctl.domain.delivery import TIMEOUT, Breaker, judge, pause
from heroctl.domain.events import DisableReason
from heroctl.domain.records import Webhook
from heroctl.domain.state import State
from heroctl.domain.visibility import Need
from heroctl.domain.webhooks import may_know, readers
from reconciler.webhook_post import Reply

IDLE: Final = 60.0  # seconds, jittered, after which a sender looks at the latest
BATCH: Final = 50  # deliveries that are read at once
_SOON: Final = 0.01  # seconds
_RETRY: Final = 1.0  # seconds, jittered, when the rows cannot be reached
_REST: Final = 10.0  # seconds after an error that nobody foresaw
_SETTLED: Final = 5  # times that the outcome of an attempt is written, at most
_NEED: Final = msgspec.json.Decoder(Need | None)
_log: Final = structlog.get_logger(__name__)


class Sends(Protocol):
    """Whatever makes an attempt; see Post."""

    async def send(self, hook: Webhook, delivery: Delivery, now: int) -> Reply:
        """See Post.send."""
        ...


class Tools(msgspec.Struct, frozen=True):
    """What all senders share. `state` gives the present one, `now` ms, `clock` monotonic seconds.

    `disable` has a webhook switched off.
    """

    deliveries: Deliveries
    post: Sends
    state: Callable[[], State]
    now: Callable[[], int]
    clock: Callable[[], float]
    disable: Callable[[str, DisableReason], Awaitable[None]]


class Sink:
    """Sends to one webhook while `run` runs; `wake` it when there is something new, or the webhook is another."""

    def __init__(self, webhook: str, tools: Tools) -> None:
        self._webhook = webhook
        self._tools = tools
        self._breaker = Breaker()
        self._probe = asyncio.Lock()
        self._moved = (asyncio.Event(), asyncio.Event())  # of what is new, of what is tried once more

    def wake(self, *, changed: bool = False) -> None:
        """Look for what is new; where the webhook is another one, for all."""
        for moved in self._moved if changed else self._moved[:1]:
            moved.set()

    async def run(self) -> None:
        """Send, for ever."""
        async with asyncio.TaskGroup() as lanes:
            lanes.create_task(self._lane(self._moved[0], self._new))
            lanes.create_task(self._lane(self._moved[1], self._again))

    async def _lane(self, moved: asyncio.Event, step: Callable[[Webhook], Awaitable[float]]) -> None:
        while True:
            moved.clear()
            try:
                wait = await self._step(step)
            except LogUnavailable as error:
                _log.warning("deliveries_away", webhook=self._webhook, error=str(error))
                wait = _RETRY
            except Exception:  # noqa: BLE001 - whatever goes wrong with one webhook, the others are told
                _log.exception("webhook_failed", webhook=self._webhook)
                await asyncio.sleep(_REST)
                wait = 0.0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(wait, IDLE * random.uniform(0.8, 1.2))):  # noqa: S311 - jitter
                    await moved.wait()

    async def _step(self, step: Callable[[Webhook], Awaitable[float]]) -> float:
        hook = self._hook()
        if hook is None:
            return IDLE
        return self._breaker.rests(self._tools.clock()) or await step(hook)

    def _hook(self) -> Webhook | None:
        """Give the webhook as it is now, if it is to be told anything."""
        state = self._tools.state()
        hook = state.webhooks.get(self._webhook)
        return hook if hook is not None and hook.enabled and readers(state, hook, self._tools.now()) else None

    async def _new(self, _: Webhook) -> float:
        found = await self._tools.deliveries.first(self._webhook, BATCH)
        if not found:
            return IDLE
        return 0.0 if await self._tell(found) else _SOON

    async def _again(self, _: Webhook) -> float:
        found, now = await self._tools.deliveries.due(self._webhook, BATCH), self._tools.now()
        due = [delivery for delivery in found if delivery.due <= now]
        if not due:
            return (found[0].due - now) / 1000 if found else IDLE
        return 0.0 if await self._tell(due) else _SOON

    async def _tell(self, found: list[Delivery]) -> bool:
        """Try these one after the other; how one went is written beside the next. False: this is not the time."""
        notes: list[asyncio.Task[None]] = []
        going = True
        try:
            for delivery in found:
                going = await self._deliver(delivery, notes)
                if not going:
                    break
            await asyncio.gather(*notes)
        finally:
            for note in notes:
                note.cancel()
        return going

    async def _deliver(self, delivery: Delivery, notes: list[asyncio.Task[None]]) -> bool:
        """Try once, if this is the time. False: it is not, or not any more."""
        if not self._breaker.open:
            return await self._attempt(delivery, notes)
        async with self._probe:
            if self._breaker.rests(self._tools.clock()):
                return False
            return await self._attempt(delivery, notes)

    async def _attempt(self, delivery: Delivery, notes: list[asyncio.Task[None]]) -> bool:
        hook, state, now = self._hook(), self._tools.state(), self._tools.now()
        if hook is None:
            return False
        if not may_know(readers(state, hook, now), _NEED.decode(delivery.needs)):
            await self._tools.deliveries.drop(delivery, "whom it reads for may not read this", now)
            return True
        began = self._tools.clock()
        reply = await self._tools.post.send(hook, delivery, now)
        took = self._tools.clock() - began
        verdict = judge(reply.status)
        if verdict == "delivered":
            self._breaker = self._breaker.succeeded()
        else:
            self._fail(reply)
        outcome = _outcome(delivery, reply, now, min(took, TIMEOUT))
        notes.append(asyncio.create_task(self._settle(delivery, outcome)))
        if verdict == "gone":
            await self._tools.disable(self._webhook, "receiver_gone")
            return False
        return not self._breaker.rests(self._tools.clock())

    def _fail(self, reply: Reply) -> None:
        before = self._breaker.open
        self._breaker = self._breaker.failed(self._tools.clock(), self._webhook)
        if self._breaker.open and not before:
            _log.warning("webhook_rests", webhook=self._webhook, status=reply.status, error=reply.error)

    async def _settle(self, delivery: Delivery, attempt: Attempt) -> None:
        """Write how it went. What cannot be written is told again: the receiver knows it by its id."""
        for last in range(_SETTLED, 0, -1):
            try:
                await self._tools.deliveries.settle(delivery, attempt)
            except LogUnavailable:
                if last == 1:
                    raise
                await asyncio.sleep(_RETRY)
            else:
                break
        if attempt.state == "pending":
            self._moved[1].set()


def _outcome(delivery: Delivery, reply: Reply, now: int, took: float) -> Attempt:
    """Say what comes of an attempt that began at `now`."""
    ended, ms = now + round(took * 1000), round(took * 1000)
    verdict = judge(reply.status)
    if verdict == "delivered":
        return Attempt("delivered", ended, now, ms, reply.status, "", reply.answer)
    wait = pause(delivery.tried + 1, f"{delivery.webhook}/{delivery.id}", reply.retry_after)
    if wait is None:
        return Attempt("failed", ended, now, ms, reply.status, reply.error, reply.answer)
    return Attempt("pending", ended + round(wait * 1000), now, ms, reply.status, reply.error, reply.answer)
