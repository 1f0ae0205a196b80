"""Webhooks told by a reconciler's part alone, on a log in memory, with receivers played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from eventstore.cursors import MemoryCursors
from eventstore.deliveries import Delivery
from eventstore.lease import MemoryLeases
from eventstore.log import Append
from eventstore.memory import MemoryLog
from eventstore.memory_deliveries import MemoryDeliveries
from eventstore.view import View
from heroctl.domain.events import Event, JobDeployed, UserCreated, WebhookCreated, WebhookUpdated
from heroctl.domain.records import Webhook
from reconciler.webhook_post import Reply
from reconciler.webhooks import Webhooks
from tests.eventstore.fastloop import elapse
from tests.eventstore.fastloop import run as run_fast

START: Final = 1_790_000_000_000
ROOM: Final = "default"
OK: Final = Reply(200)
BAD: Final = Reply(500, "the receiver answered 500")


@dataclass(frozen=True)
class Sent:
    """One attempt: of what, to whom, and at which second of the story."""

    webhook: str
    index: int
    at: float


@dataclass
class Receivers:
    """Takes deliveries; `answers` says what each gets, OK unless told otherwise, after so many seconds."""

    sent: list[Sent] = field(default_factory=list)
    answers: Callable[[Sent], Reply] = lambda _: OK
    takes: dict[str, float] = field(default_factory=dict)  # seconds, by webhook
    busy: set[str] = field(default_factory=set)

    async def send(self, hook: Webhook, delivery: Delivery, now: int) -> Reply:
        """See Post.send."""
        sent = Sent(hook.id, delivery.index, (now - START) / 1000)
        self.sent.append(sent)
        await elapse(self.takes.get(hook.id, 0.001))
        return self.answers(sent)

    def of(self, webhook: str) -> list[int]:
        """Name the events that a webhook was told of, attempt by attempt."""
        return [sent.index for sent in self.sent if sent.webhook == webhook]

    def times(self, webhook: str, index: int) -> list[float]:
        """Say when a webhook was told of an event."""
        return [sent.at for sent in self.sent if (sent.webhook, sent.index) == (webhook, index)]


class Telling:
    """The log, its rows, and whoever tells webhooks of it: several in turn, of which one coordinates."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.log = MemoryLog(self.now)
        self.leases = MemoryLeases(self.log, loop.time)
        self.view = View(self.log, clock=loop.time)
        self.cursors = MemoryCursors()
        self.rows = MemoryDeliveries(lambda: self.log.epoch, self.cursors)
        self.receivers = Receivers()
        self.epoch: int | None = None
        self.tasks: list[asyncio.Task[None]] = [asyncio.create_task(self.view.run())]

    def now(self) -> int:
        """The database's time in ms."""
        return START + round(asyncio.get_running_loop().time() * 1000)

    async def elect(self) -> int:
        """Let there be another coordinator."""
        self.epoch = await self.leases.take("me", 1e9)
        assert self.epoch is not None
        await self.view.catch_up()
        return self.epoch

    def tell(self) -> asyncio.Task[None]:
        """Start somebody who tells webhooks whenever `epoch` says it is its turn."""
        webhooks = Webhooks(
            log=self.log,
            view=self.view,
            cursors=self.cursors,
            deliveries=self.rows,
            post=self.receivers,
            mandate=lambda: self.epoch,
            now=self.now,
            clock=asyncio.get_running_loop().time,
        )
        self.tasks.append(asyncio.create_task(webhooks.run()))
        return self.tasks[-1]

    async def append(self, *events: Event) -> int:
        """Append as an api would, or as the coordinator does; return the last index."""
        decides = any(event.WRITER == "decision" for event in events)
        appended = await self.log.append(Append(events, epoch=self.log.epoch if decides else None))
        assert await self.view.reached(appended.last, 10)
        return appended.last

    async def hook(self, name: str = "w1", *events: str, namespace: str = ROOM, user: str = "admin") -> int:
        """Make a webhook, and who it reads for."""
        if user not in self.view.state.users:
            await self.append(UserCreated(user, ("admin",), f"row-{user}"))
        url = f"https://8.8.8.8/{name}"
        return await self.append(WebhookCreated(name, namespace, url, events or ("*",), f"row-{name}", user))

    async def change(self, name: str, *, enabled: bool = True, user: str = "admin") -> int:
        """Switch a webhook on or off, or let it read for somebody else."""
        hook = self.view.state.webhooks[name]
        return await self.append(WebhookUpdated(name, hook.namespace, hook.url, hook.events, user, enabled=enabled))

    async def deployed(self, namespace: str = ROOM, job: str = "web") -> int:
        """Let something happen that webhooks are told."""
        return await self.append(JobDeployed(1, namespace, job, 1, "d1"))

    async def until(self, look: Callable[[], object], seconds: float = 60, *, step: float = 0.05) -> float:
        """Let time pass until something is so; return how many seconds that took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not look():
            await elapse(step)
            assert loop.time() - began < seconds, "it did not come true"
        return loop.time() - began

    async def all_(self, webhook: str = "w1") -> list[Delivery]:
        """Give all rows of a webhook, the oldest first."""
        return (await self.rows.listed(webhook, 10**6))[::-1]


def run(story: Callable[[Telling], Coroutine[Any, Any, None]], *, told: bool = True) -> None:
    """Tell a story: somebody coordinates and tells webhooks from its start, unless it is not `told`."""

    async def main() -> None:
        telling = Telling()
        try:
            await telling.view.catch_up()
            await telling.elect()
            if told:
                telling.tell()
            await story(telling)
        finally:
            for task in telling.tasks:
                task.cancel()
            results = await asyncio.gather(*telling.tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result

    run_fast(main)
