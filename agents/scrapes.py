"""Metrics of applications, read where they tell them: at most so many series, in so little time, and never trusted.

What is not Prometheus' text, too long or too slow is told as not up. Names that begin with `heroctl_` are the
cluster's own: an application's are left out.
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
from heroctl.domain.exposition import KINDS, Family, Sample, labelled, number
from heroctl.domain.sampling import MOST_SERIES, Scrape, Scraped

PATIENCE: Final = 3.0  # seconds for an answer
MOST_BYTES: Final = 512 << 10  # of one answer
_LONGEST: Final = 1_000  # characters of a line
_OWN: Final = "heroctl_"
_NAME: Final = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]{0,199}")
# Labels that say where a series is from; an application's own of these names keep what they say under another one.
_OURS: Final = frozenset({"namespace", "job", "task", "alloc", "node"})


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
        return found

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


def _read_through(text: str) -> tuple[list[Family], int]:
    """Read an exposition. ValueError: it is none, in whichever way: what it breaks in the library is its own."""
    try:
        return families_of(text)
    except Exception as error:
        raise ValueError(f"no exposition: {type(error).__name__}") from error


def families_of(text: str) -> tuple[list[Family], int]:
    """Read an exposition; give its families, and how many series were left out. ValueError: it is none."""
    made: dict[str, Family] = {}  # the library gives one for each line that has no type
    left, dropped = MOST_SERIES, 0
    for family in text_string_to_metric_families(text):
        kind = "untyped" if family.type in ("unknown", "") else family.type
        samples = [_sample(each.name, each.labels, each.value) for each in family.samples]
        fit = [each for each in samples if len(each.name) + len(each.labels) <= _LONGEST]
        if not _NAME.fullmatch(family.name) or not all(_plain(each.name, each.labels) for each in family.samples):
            dropped += len(samples)  # a quoted name may hold anything, and would be written as it is
            continue
        dropped += len(samples) - len(fit)
        if family.name.startswith(_OWN) or kind not in KINDS or len(fit) > left:
            dropped += len(fit)
            continue
        left -= len(fit)
        name = f"{family.name}_total" if kind == "counter" else family.name
        made.setdefault(name, Family(name, kind, family.documentation[:200], [])).samples.extend(fit)
    return list(made.values()), dropped


def _plain(name: str, labels: dict[str, str]) -> bool:
    return _NAME.fullmatch(name) is not None and all(_NAME.fullmatch(label) for label in labels)


def _sample(name: str, labels: dict[str, str], value: float) -> Sample:
    own = {f"exported_{label}" if label in _OURS else label: text for label, text in labels.items()}
    return Sample(name, labelled(own), number(value))
