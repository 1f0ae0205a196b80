"""Webhooks, told while this process coordinates: the log gone through, a sender for each, and what switches one off."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Final

import structlog

from eventstore.cursors import Cursors
from eventstore.deliveries import Deliveries, Waiting
from eventstore.internals import INTERNALS, Labelled
from eventstore.log import Append, Busy, Conflicted, Displaced, Fenced, Log, LogUnavailable
from eventstore.view import Change, View
from heroctl.domain.delivery import MOST_PENDING
from heroctl.domain.events import DisableReason, Meta, WebhookDisabled
from heroctl.domain.intents.webhooks import webhook_stream
from heroctl.domain.topics import ACL, WEBHOOKS
from heroctl.domain.webhooks import readers
from reconciler.webhook_cursor import WebhookCursor
from reconciler.webhook_sink import Sends, Sink, Tools

COUNT: Final = 5.0  # seconds, jittered, between counts of what waits
PRUNE: Final = 600.0  # seconds between two times that rows are forgotten
KEPT: Final = 7 * 86_400_000  # ms for which is known what was told
_LOOK: Final = 0.5  # seconds between looks whether it is this process's turn
_RETRY: Final = 0.5  # seconds, jittered, when the log is away
_META: Final = Meta(actor="coordinator")
_log: Final = structlog.get_logger(__name__)


class Webhooks:
    """Tells webhooks while `run` runs and `mandate` gives the epoch under which this process coordinates.

    `now` gives the database's time in ms, `clock` monotonic seconds.
    """

    def __init__(
        self,
        *,
        log: Log,
        view: View,
        cursors: Cursors,
        deliveries: Deliveries,
        post: Sends,
        mandate: Callable[[], int | None],
        now: Callable[[], int],
        clock: Callable[[], float],
    ) -> None:
        self._log = log
        self._view = view
        self._cursors = cursors
        self._deliveries = deliveries
        self._mandate = mandate
        self._now = now
        self._clock = clock
        self._tools = Tools(deliveries, post, lambda: view.state, now, clock, self._disable)
        self._sinks: dict[str, tuple[Sink, asyncio.Task[None]]] = {}
        self._moved = asyncio.Event()
        self._pruned = 0.0
        self._cursor: WebhookCursor | None = None
        self._waiting: dict[str, Waiting] = {}
        INTERNALS.gauge(
            "heroctl_webhook_lag_events",
            "Events that were not gone through yet for webhooks",
            lambda: self._cursor.behind if self._cursor is not None else 0,
        )
        INTERNALS.gauges("heroctl_webhook_queue", "Deliveries to a webhook that wait", lambda: self._of_each(_count))
        INTERNALS.gauges(
            "heroctl_webhook_lag_seconds",
            "Since the event of the oldest of these",
            lambda: self._of_each(lambda waiting: max(0, self._now() - waiting.since) / 1000),
        )

    async def run(self) -> None:
        """Tell, for ever, whenever it is this process's turn."""
        unsubscribe = self._view.subscribe(self._on_change)
        try:
            while True:
                epoch = self._mandate()
                if epoch is not None:
                    await self._serve(epoch)
                await asyncio.sleep(_LOOK)
        finally:
            unsubscribe()

    def _on_change(self, change: Change) -> None:
        self._moved.set()
        if change.reloaded or WEBHOOKS in change.topics or ACL in change.topics:
            for sink, _ in self._sinks.values():
                sink.wake(changed=True)

    async def _serve(self, epoch: int) -> None:
        """Tell under one epoch; end when it has ended."""
        async with asyncio.TaskGroup() as tasks:
            work = [tasks.create_task(self._follow(epoch, tasks)), tasks.create_task(self._mind())]
            while True:
                await asyncio.sleep(_LOOK)
                if self._mandate() != epoch:
                    break
            for task in [*work, *(task for _, task in self._sinks.values())]:
                task.cancel()
            self._sinks.clear()
        self._cursor, self._waiting = None, {}

    def _of_each(self, told: Callable[[Waiting], float]) -> list[Labelled]:
        """Say something of what waits for each webhook that is told by this process: 0, where nothing does."""
        state = self._view.state
        return [
            (
                {"webhook": webhook, "namespace": state.webhooks[webhook].namespace},
                told(self._waiting[webhook]) if webhook in self._waiting else 0,
            )
            for webhook in sorted(self._sinks.keys() & state.webhooks.keys())
        ]

    # ── what is to be told ───────────────────────────────────────────────────────────────────────────────────────────

    async def _follow(self, epoch: int, tasks: asyncio.TaskGroup) -> None:
        cursor = self._cursor = WebhookCursor(self._log, self._view, self._cursors, self._deliveries, self._now)
        while True:
            self._moved.clear()
            self._man(tasks)
            more, wait = True, COUNT
            try:
                while more:
                    told, more = await cursor.step(epoch)
                    for webhook in told:
                        if webhook in self._sinks:
                            self._sinks[webhook][0].wake()
            except LogUnavailable as error:
                _log.warning("webhooks_wait", error=str(error))
                wait = _RETRY
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait * random.uniform(0.8, 1.2)):  # noqa: S311 - jitter
                    await self._moved.wait()

    def _man(self, tasks: asyncio.TaskGroup) -> None:
        """Let each webhook have its sender, and those that are no more none."""
        known = self._view.state.webhooks
        for webhook in self._sinks.keys() - known.keys():
            self._sinks.pop(webhook)[1].cancel()
        for webhook in known.keys() - self._sinks.keys():
            sink = Sink(webhook, self._tools)
            self._sinks[webhook] = sink, tasks.create_task(sink.run())

    # ── what switches one off ────────────────────────────────────────────────────────────────────────────────────────

    async def _mind(self) -> None:
        """Look now and then for webhooks that read for nobody, and for which too much waits; and forget old rows."""
        while True:
            with contextlib.suppress(LogUnavailable):  # who follows the log complains
                await self._look()
            await asyncio.sleep(COUNT * random.uniform(0.8, 1.2))  # noqa: S311 - jitter

    async def _look(self) -> None:
        state, now = self._view.state, self._now()
        hooks = [hook for hook in state.webhooks.values() if hook.enabled]
        for hook in hooks:
            if not readers(state, hook, now):
                await self._disable(hook.id, "creator_gone")
        self._waiting = await self._deliveries.pending() if state.webhooks else {}
        for hook in hooks:
            if hook.id in self._waiting and self._waiting[hook.id].count >= MOST_PENDING:
                await self._disable(hook.id, "backlog")
        if self._clock() - self._pruned > PRUNE:
            self._pruned = self._clock()
            await self._deliveries.prune(list(state.webhooks), now - KEPT)

    async def _disable(self, webhook: str, reason: DisableReason) -> None:
        """Switch a webhook off, by an event. What stands in the way is looked at again by whoever saw the reason."""
        state, epoch, place = self._view.state, self._mandate(), self._view.position
        hook = state.webhooks.get(webhook)
        if hook is None or not hook.enabled or epoch is None:
            return
        stream = webhook_stream(webhook)
        append = Append(
            (WebhookDisabled(webhook, hook.namespace, reason),),
            moves=(stream,),
            expects=((stream, place.index),),
            epoch=epoch,
            meta=_META,
            level=state.level,
            view=place,
        )
        try:
            appended = await self._log.append(append)
        except (LogUnavailable, Busy, Conflicted, Displaced, Fenced) as error:
            _log.warning("webhook_not_disabled", webhook=webhook, reason=reason, error=str(error))
        else:
            _log.warning("webhook_disabled", webhook=webhook, reason=reason)
            await self._view.reached(appended.last, _RETRY)


def _count(waiting: Waiting) -> float:
    return waiting.count
