"""Samples in memory, for tests; see `eventstore.samples`."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from eventstore.samples import MOST_EXPOSED, Exposed, Latest, Part, Sampled, Subject, Wanted
from eventstore.series import KEPT, TIERS, Aggregation, Run, runs_of
from heroctl.domain.metrics import PLACES


class MemorySamples:
    """See Samples. They are kept as they came, for as long as the coarsest ones are."""

    def __init__(self) -> None:
        self._subjects: dict[tuple[str, str], Subject] = {}
        self._seen: dict[tuple[str, str], int] = {}
        self._rows: dict[int, dict[int, Sequence[float]]] = {}
        self._exposed: dict[tuple[str, str], Exposed] = {}

    async def register(self, subjects: Sequence[Subject], now: int) -> dict[tuple[str, str], int]:
        """See Samples.register."""
        for each in subjects:
            known = self._subjects.get(each.key)
            if known is None:
                words = (each.kind, each.name, each.node, each.namespace, each.job, each.task)
                self._subjects[each.key] = Subject(*words, id=len(self._subjects) + 1)
            self._seen[each.key] = now
        return {each.key: self._subjects[each.key].id for each in subjects}

    async def write(self, rows: Sequence[Sampled]) -> None:
        """See Samples.write."""
        for row in rows:
            self._rows.setdefault(row.subject, {})[row.at] = array("f", row.values)

    async def latest(self, since: int) -> list[Latest]:
        """See Samples.latest."""
        found = []
        for subject in self._subjects.values():
            at = max(self._rows.get(subject.id, {}), default=-1)
            if at >= since:
                found.append(Latest(subject.kind, subject.name, at, self._rows[subject.id][at]))
        return found

    async def find(self, wanted: Wanted, since: int) -> list[Subject]:
        """See Samples.find."""
        found = [each for each in self._subjects.values() if wanted.passes(each) and self._seen[each.key] >= since]
        return sorted(found, key=lambda each: (each.namespace, each.job, each.task, each.node, each.name))

    async def read(
        self, subjects: Sequence[int], metric: str, parts: Iterable[Part], how: Aggregation = "avg"
    ) -> list[Run]:
        """See Samples.read."""
        del how  # of what is as it came, both are the same
        place, runs = PLACES[metric], []
        for _, begin, end in parts:
            for subject in subjects:
                rows = self._rows.get(subject, {})
                times = [at for at in sorted(rows) if begin <= at < end]
                runs += runs_of(subject, times, array("f", [rows[at][place] for at in times]))
        return runs

    async def rolled(self) -> dict[int, int]:
        """See Samples.rolled."""
        return {tier.resolution: 0 for tier in TIERS}

    async def roll(self, now: int) -> int:
        """See Samples.roll."""
        for rows in self._rows.values():
            for at in [at for at in rows if at < now - KEPT]:
                del rows[at]
        return 0

    async def expose(self, rows: Sequence[Exposed]) -> None:
        """See Samples.expose."""
        self._exposed |= {(row.kind, row.name): row for row in rows}

    async def exposed(self, since: int, most: int = MOST_EXPOSED) -> list[Exposed]:
        """See Samples.exposed."""
        found = []
        for each in sorted(self._exposed.values(), key=lambda one: (one.kind == "alloc", len(one.families), one.name)):
            if each.at >= since:
                most -= len(each.families)
                found.append(each if most >= 0 else replace(each, families=b""))
        return sorted(found, key=lambda each: (each.kind, each.name))
