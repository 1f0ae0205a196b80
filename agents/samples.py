"""Samples of the machine and of what runs here: taken every ten seconds, told to the control plane, never waited for.

A value is what was used since the sample before, so that nothing between two samples is missed. What cannot be sent is
kept for two minutes and then dropped: it would come too late.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple, Protocol

import structlog

from agents.client import Away, Refused
from agents.clock import Clock
from agents.counters import Counters
from agents.parcels import parcels
from agents.running import Running
from agents.scrapes import Scraper
from heroctl.domain.metrics import STEP
from heroctl.domain.sampling import Measured, SamplesReply, SamplesRequest, Taken

FIRST: Final = 1.0  # seconds from the first look to the first sample
LATE: Final = 120.0  # seconds after which a sample is of no use any more
_log = structlog.get_logger("samples")


class Whole(Protocol):
    """The machine."""

    def counters(self) -> Counters:
        """Read what all of it has used so far."""
        ...

    def gauges(self) -> dict[str, float]:
        """Read what is so now."""
        ...

    @property
    def limits(self) -> tuple[float, float]:
        """Processors, and bytes of memory."""
        ...


class Seen(NamedTuple):
    """Counters, and when they were read."""

    at: float
    counters: Counters


class Sampler:
    """Takes samples and sends them, while `run` runs. `running`: what does now; `session`: 0, as long as none is open.

    `offset` spreads the samples of many nodes over the ten seconds.
    """

    def __init__(
        self,
        node: str,
        whole: Whole,
        running: Callable[[], Iterable[Running]],
        send: Callable[[SamplesRequest], Awaitable[SamplesReply]],
        *,
        clock: Clock,
        session: Callable[[], int],
    ) -> None:
        self._whole = whole
        self._running = running
        self._send = send
        self._clock = clock
        self._session = session
        self._scraper = Scraper(running, clock)
        self._offset = hashlib.blake2b(node.encode(), digest_size=1).digest()[0] / 256 * (STEP - 2) + 1
        self._seen: dict[str, Seen] = {}  # by container; "": the machine
        self._kept: deque[tuple[float, list[Measured]]] = deque()
        self._away = False

    async def run(self) -> None:
        """Take and send, and read what applications tell of themselves, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._scraper.run())
            tasks.create_task(self._sample())

    async def _sample(self) -> None:
        await self.take()
        self._kept.clear()  # nothing was there to compare it with
        pause = FIRST
        while True:
            due = self._clock.now() + pause
            await self._clock.sleep(pause)
            await self.take()
            pause = await self.send() or STEP - (self._clock.now() - due) % STEP

    async def take(self) -> None:
        """Take a sample of everything."""
        running = list(self._running())
        looks = await asyncio.gather(*(self._look(one) for one in running))
        self._seen = {
            key: seen for key, seen in self._seen.items() if not key or key in {one.container for one in running}
        }
        own = await asyncio.to_thread(self._own)
        samples = [Measured(own), *(Measured(values, one.alloc) for one, values in zip(running, looks, strict=True))]
        self._kept.append((self._clock.now(), [each for each in samples if each.values]))

    async def send(self) -> float:
        """Send what is kept, if there is anybody to hear it; return when to take the next one, 0: nobody said."""
        now = self._clock.now()
        while self._kept and self._kept[0][0] < now - LATE:
            self._kept.popleft()
        session, scraped = self._session(), self._scraper.take()
        if not session or not (self._kept or scraped):
            return 0.0
        taken = [Taken(max(0.0, now - at), samples) for at, samples in self._kept]
        reply, refused = None, False
        for parcel in parcels(session, taken, scraped):
            try:
                reply = await self._send(parcel)
            except (Away, Refused) as error:
                self._unheard(error, parcel)
                refused = isinstance(error, Refused) and error.status in (400, 413)
                if not refused:
                    return 0.0  # all of it is sent again: of what was taken already, that changes nothing
        self._kept.clear()
        if reply is None:
            return 0.0
        self._away = refused
        self._scraper.wanted = reply.scrape
        pause = (reply.again + self._offset) % STEP
        return pause if pause >= FIRST else pause + STEP  # woken a little early, it would be the same one again

    def _unheard(self, error: Exception, parcel: SamplesRequest) -> None:
        if not self._away:
            _log.info("samples_not_taken", error=str(error), scraped=[each.alloc for each in parcel.scraped])
        self._away = True

    async def _look(self, one: Running) -> dict[str, float]:
        counters = await one.runtime.usage(one.container)
        values = self._compared(one.container, counters, one.cpu, one.memory)
        return values | {"restarts": float(one.restarts)} if values else values

    def _own(self) -> dict[str, float]:
        cpu, memory = self._whole.limits
        return self._compared("", self._whole.counters(), cpu, memory) | self._whole.gauges()

    def _compared(self, key: str, counters: Counters, cpu: float, memory: float) -> dict[str, float]:
        """Say what was used since the sample before, a second, and what is used now."""
        before, now = self._seen.get(key), Seen(self._clock.now(), counters)
        self._seen[key] = now
        values = rates(before, now) | gauges(counters)
        for name, limit in (("cpu", cpu), ("memory", memory)):
            if name in values and limit > 0:
                values[f"{name}_percent"] = 100 * values[name] / limit
        return values


_RATES: Final = ("cpu", "network_in", "network_out", "disk_read", "disk_write")


def rates(before: Seen | None, now: Seen) -> dict[str, float]:
    """Say how much more there is than before, a second. A counter that began anew tells nothing this time."""
    if before is None or now.at <= before.at:
        return {}
    pairs = ((name, getattr(before.counters, name), getattr(now.counters, name)) for name in _RATES)
    seconds = now.at - before.at
    return {
        name: (new - old) / seconds for name, old, new in pairs if old is not None and new is not None and new >= old
    }


def gauges(counters: Counters) -> dict[str, float]:
    """Say what is used now."""
    return {} if counters.memory is None else {"memory": counters.memory}
