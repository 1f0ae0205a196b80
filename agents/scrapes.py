"""Metrics of applications, read where they tell them: at most so many series, in so little time, and never trusted.

What is not Prometheus' text, too long or too slow is told as not up. Of all applications of a node only so much is
taken, of those that say least first: who says too much takes it from nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterable
from typing import Final

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from agents.clock import Clock
from agents.running import Running
from agents.runtime import RuntimeFault
from heroctl.domain.exposition import Family, Sample, labelled, number
from heroctl.domain.sampling import Scrape, Scraped
from heroctl.domain.scraped import MOST_SERIES, bounded, renamed, size

PATIENCE: Final = 3.0  # seconds for an answer
MOST_BYTES: Final = 512 << 10  # of one answer
MOST_OF_NODE: Final = 10_000  # series of all that is read in one go
MOST_TEXT: Final = 4 << 20  # characters of these
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Scraper:
    """Reads what `wanted` names, each as often as it says, while `run` runs; `take` gives what is new."""

    def __init__(self, running: Callable[[], Iterable[Running]], clock: Clock) -> None:
        self.wanted: list[Scrape] = []
        self._running = running
        self._clock = clock
        self._due: dict[str, float] = {}
        self._found: dict[str, Scraped] = {}
        self._http = httpx2.AsyncClient(trust_env=False, follow_redirects=False, timeout=PATIENCE)

    async def run(self) -> None:
        """Read, for ever."""
        try:
            while True:
                await self._round()
                await self._clock.sleep(1.0)
        finally:
            await self._http.aclose()

    def take(self) -> list[Scraped]:
        """Give what was read since the last time."""
        found, self._found = list(self._found.values()), {}
        return fair(found)

    async def _round(self) -> None:
        now, running = self._clock.now(), {one.alloc: one for one in self._running()}
        known = {each.alloc for each in self.wanted}
        self._due = {alloc: at for alloc, at in self._due.items() if alloc in known}
        due = [each for each in self.wanted if each.alloc in running and self._due.get(each.alloc, now) <= now]
        for each in due:
            self._due[each.alloc] = now + each.every
        read = await asyncio.gather(*(self._read(each, running[each.alloc]) for each in due))
        self._found |= {each.alloc: each for each in read}

    async def _read(self, wanted: Scrape, one: Running) -> Scraped:
        with contextlib.suppress(RuntimeFault, httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, TimeoutError):
            async with asyncio.timeout(PATIENCE):
                address, port = await one.runtime.endpoint(one.container, wanted.port)
                text = await self._text(f"http://{address}:{port}{wanted.path}")
            families, dropped = await asyncio.to_thread(_read_through, text)
            return Scraped(wanted.alloc, up=True, families=families, dropped=dropped)
        return Scraped(wanted.alloc, up=False)

    async def _text(self, url: str) -> str:
        content = bytearray()
        async with self._http.stream("GET", url, headers={"Accept": "text/plain; version=0.0.4"}) as answer:
            answer.raise_for_status()
            async for piece in answer.aiter_bytes():
                content += piece
                if len(content) > MOST_BYTES:
                    raise ValueError("too long")
        return content.decode()


def fair(found: Iterable[Scraped]) -> list[Scraped]:
    """Keep what a node may say in one go: the smallest first. Of the others it is told how many series were dropped."""
    series = text = 0
    kept = []
    for each in sorted(found, key=lambda each: (size(each.families), each.alloc)):
        count = sum(len(family.samples) for family in each.families)
        if series + count > MOST_OF_NODE or text + size(each.families) > MOST_TEXT:
            kept.append(Scraped(each.alloc, up=each.up, dropped=each.dropped + count))
            continue
        series, text = series + count, text + size(each.families)
        kept.append(each)
    return kept


def _read_through(text: str) -> tuple[list[Family], int]:
    """Read an exposition. ValueError: it is none, in whichever way: what it breaks in the library is its own."""
    try:
        return families_of(text)
    except Exception as error:
        raise ValueError(f"no exposition: {type(error).__name__}") from error


def families_of(text: str) -> tuple[list[Family], int]:
    """Read an exposition; give what of it may be shown, and how many series may not. ValueError: it is none."""
    made: dict[str, Family] = {}  # the library gives one for each line that has no type
    dropped = 0
    for family in text_string_to_metric_families(text):
        kind = "untyped" if family.type in ("unknown", "") else family.type
        name = f"{family.name}_total" if kind == "counter" else family.name
        known = made.setdefault(name, Family(name, kind, family.documentation, []))
        for each in family.samples:
            if len(known.samples) > MOST_SERIES or not all(map(_PLAIN.fullmatch, each.labels)):
                dropped += 1  # a quoted name may hold anything, and would be written as it is
                continue
            known.samples.append(Sample(each.name, labelled(renamed(each.labels)), number(each.value)))
    families, more = bounded(made.values())
    return families, dropped + more
