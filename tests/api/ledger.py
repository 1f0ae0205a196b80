"""The ledger of permits in memory: what permits.lua does, with a clock in hand. A test holds the two together."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from api.permits import Draw, Grant, Size


class Entry(NamedTuple):
    """So many permits of a process's chunk, which come free at a time."""

    owner: str
    chunk: int
    permits: int
    at: float


@dataclass(slots=True)
class MemoryLedger:
    """One bucket. `now` is this server's clock: it may be set."""

    size: Size
    now: float = 0.0
    entries: list[Entry] = field(default_factory=list)

    def ask(self, owner: str, draw: Draw) -> Grant:
        """Take in what is told, and grant."""
        size, now = self.size, self.now
        told = {(owner, each.number) for each in draw.told}
        latest = now + size.lease + size.window
        kept = [
            entry._replace(at=min(entry.at, latest))
            for entry in self.entries
            if entry.at > now and (entry.owner, entry.chunk) not in told
        ]
        kept += [
            Entry(owner, each.number, each.spent, now - each.age + size.window)
            for each in draw.told
            if each.spent and each.age < size.window
        ]
        self.entries = sorted(kept, key=lambda entry: entry.at)
        if sum(entry.permits for entry in kept if entry.owner == owner) < draw.mine:
            return Grant(0, 0, 0.0, forgot=True)
        held = sum(entry.permits for entry in kept)
        granted = max(0, min(draw.want, size.limit - held))
        if granted:
            wait = min([entry.at for entry in kept], default=now + size.window) - now
            self.entries.append(Entry(owner, draw.number, granted, latest))
            return Grant(granted, size.limit - held - granted, wait)
        return Grant(0, 0, self._free_at(held) - now)

    def _free_at(self, held: int) -> float:
        for entry in self.entries:
            held -= entry.permits
            if held < self.size.limit:
                return entry.at
        return math.inf
