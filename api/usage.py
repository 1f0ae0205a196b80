"""What nodes and allocations use: samples that agents send here, and the newest of each, whichever api took it.

Taken samples are written in one statement for all that came while the one before was under way. The newest of every
thing is kept in memory: what this process took at once, what others did within seconds.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec
import structlog

from eventstore.internals import INTERNALS
from eventstore.log import LogUnavailable
from eventstore.samples import Exposed, Latest, Sampled, Samples, Subject
from eventstore.series import slot
from heroctl.domain.metrics import METRICS, PLACES, STEP, row
from heroctl.domain.records import Node
from heroctl.domain.sampling import Measured, SamplesRequest, Scraped, Taken
from heroctl.domain.scraped import bounded
from heroctl.domain.state import State

LOOK: Final = 5.0  # seconds between looks at what other apis took
CURRENT: Final = 60  # seconds for which a sample says what is so now
_REMEMBER: Final = 3_600  # seconds after which it is said again of whom there are samples
_LATE: Final = 3_600.0  # seconds; older ones are of no use
_log: Final = structlog.get_logger(__name__)

Key = tuple[str, str]  # kind and name


class Usage:
    """Samples in, and the newest of each out.

    `clock` gives seconds since the epoch, and `skew` says by how many ms that is ahead of the database's clock.
    """

    def __init__(self, samples: Samples, clock: Callable[[], float]) -> None:
        self.samples = samples
        self.skew = 0
        self._clock = clock
        self._latest: dict[Key, Latest] = {}
        self._numbers: dict[Key, int] = {}
        self._since = 0.0
        self._rows: list[tuple[Subject, int, Sequence[float]]] = []
        self._exposed: list[Exposed] = []
        self._next: asyncio.Future[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        INTERNALS.gauge("heroctl_samples_queue", "Samples that wait to be written", lambda: len(self._rows))

    def now(self) -> float:
        """Return the seconds since the epoch by the database's clock."""
        return self._clock() - self.skew / 1000

    # ── what is so now ───────────────────────────────────────────────────────────────────────────────────────────────

    def of(self, kind: str, name: str) -> dict[str, float]:
        """Return the newest values of a node (by name) or an allocation; nothing where they are old, or never came."""
        found = self._latest.get((kind, name))
        if found is None or found.at < self.now() - CURRENT:
            return {}
        return named(found.values)

    def at(self, kind: str, name: str) -> int | None:
        """Return when the newest sample was taken, in seconds since the epoch."""
        found = self._latest.get((kind, name))
        return None if found is None else found.at

    # ── samples in ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def take(self, node: Node, request: SamplesRequest, state: State) -> None:
        """Keep what an agent sends of its node and of the allocations on it. Raises LogUnavailable: it was not kept."""
        now = self.now()
        for taken in request.taken:
            if taken.age <= _LATE:
                self._rows += _rows(state, node, taken, slot(now - taken.age))
        self._exposed += _exposed(state, node, request.scraped, int(now))
        for subject, at, values in self._rows:
            old = self._latest.get(subject.key)
            if old is None or at >= old.at:
                self._latest[subject.key] = Latest(subject.kind, subject.name, at, values)
        await self._written()

    def _written(self) -> asyncio.Future[None]:
        """Return what is done once all that came until now is written."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        return asyncio.shield(self._next)

    async def _write(self) -> None:
        while (waiting := self._next) is not None:
            rows, exposed = self._rows, self._exposed
            self._rows, self._exposed, self._next = [], [], None
            try:
                await self._keep(rows, exposed)
            except LogUnavailable as error:
                waiting.set_exception(error)
                waiting.exception()  # whoever sent it may have left
            except BaseException as error:
                waiting.set_exception(error)
                waiting.exception()
                raise
            else:
                waiting.set_result(None)

    async def _keep(self, rows: list[tuple[Subject, int, Sequence[float]]], exposed: list[Exposed]) -> None:
        now = self.now()
        if now > self._since + _REMEMBER:
            self._numbers, self._since = {}, now
        new = {subject.key: subject for subject, _, _ in rows if subject.key not in self._numbers}
        if new:
            self._numbers |= await self.samples.register(list(new.values()), int(now))
        await self.samples.write([Sampled(self._numbers[subject.key], at, values) for subject, at, values in rows])
        if exposed:
            await self.samples.expose(exposed)

    # ── what others took ─────────────────────────────────────────────────────────────────────────────────────────────

    async def look(self) -> None:
        """Learn what other apis took. Raises LogUnavailable."""
        now = self.now()
        for each in await self.samples.latest(slot(now) - 2 * STEP):
            old = self._latest.get((each.kind, each.name))
            if old is None or each.at >= old.at:
                self._latest[each.kind, each.name] = each
        for key in [key for key, each in self._latest.items() if each.at < now - CURRENT]:
            del self._latest[key]

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            try:
                await self.look()
            except LogUnavailable as error:
                _log.info("samples_not_read", error=str(error))
            await asyncio.sleep(LOOK)


def named(values: Sequence[float]) -> dict[str, float]:
    """Say which value is what, of those that there are."""
    return {metric.name: value for metric, value in zip(METRICS, values, strict=False) if not math.isnan(value)}


def value_of(values: Mapping[str, float], metric: str) -> float:
    """Return a value in the digits that are worth telling; 0 where there is none."""
    return rounded(metric, values.get(metric, 0.0))


def rounded(metric: str, value: float) -> float:
    """Cut a value to the digits that are worth telling."""
    digits = METRICS[PLACES[metric]].digits
    return round(value, digits) if digits else int(value + 0.5)


def _rows(state: State, node: Node, taken: Taken, at: int) -> Iterable[tuple[Subject, int, Sequence[float]]]:
    for measured in taken.samples:
        subject = _subject(state, node, measured)
        if subject is not None:
            yield subject, at, row(measured.values)


def _subject(state: State, node: Node, measured: Measured) -> Subject | None:
    """Name who was measured; None: it is no allocation of that node, so that it has nothing to say about it."""
    if not measured.alloc:
        return Subject("node", node.name, node.name)
    alloc = state.allocs.get(measured.alloc)
    if alloc is None or alloc.node != node.id:
        return None
    return Subject("alloc", alloc.id, node.name, alloc.namespace, alloc.job, alloc.task)


def _exposed(state: State, node: Node, scraped: Iterable[Scraped], now: int) -> list[Exposed]:
    """Keep what may be shown: an agent is believed what it says of its own allocations, and held to the bounds."""
    there = ((each, state.allocs.get(each.alloc)) for each in scraped)
    return [_shown(each, now) for each, alloc in there if alloc is not None and alloc.node == node.id]


def _shown(said: Scraped, now: int) -> Exposed:
    families, dropped = bounded(said.families)
    series = sum(len(family.samples) for family in families)
    kept = Scraped(said.alloc, said.up, families, said.dropped + dropped)
    return Exposed("alloc", said.alloc, now, msgspec.json.encode(kept), series)
