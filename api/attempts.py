"""Attempts to log in, and what too many of them mean. Pure.

Each is counted before the password is looked at, and taken back if it was right, so that many at once are no way
around. Three counts, for three attacks:

- a name from one address: after ten attempts each doubles the wait, from one second to five minutes;
- an address, whatever the names: after thirty, from one second to one minute;
- a name, from wherever: no wait, since that would let anybody lock its owner out; after twenty each answer is held
  back, for three seconds at most.

Names are counted as they are sent, whether a user has them or not: what is said, and when, tells nothing of that.
Fifteen minutes without an attempt, and all is forgotten.
"""

from __future__ import annotations

import hashlib
import unicodedata
from typing import Final, NamedTuple

QUIET: Final = 900.0  # seconds
_MOST: Final = 50_000


class Rule(NamedTuple):
    """After so many attempts wait for `first` seconds, then for twice as long each time, up to `longest`; 0: never."""

    free: int
    first: float = 1.0
    longest: float = 0.0

    def wait(self, tried: int) -> float:
        """Say how long the next attempt has to wait after so many."""
        return min(self.longest, self.first * 2.0 ** min(tried - self.free, 30)) if tried >= self.free else 0.0


PAIR: Final = Rule(10, longest=300.0)
ADDRESS: Final = Rule(30, longest=60.0)
NAME: Final = Rule(20)
RULES: Final = (PAIR, ADDRESS, NAME)
_HELD: Final = 3.0  # seconds
_STEP: Final = 0.1  # seconds more with each attempt


class Verdict(NamedTuple):
    """Seconds to wait before an attempt is taken, or, where that is 0, seconds to hold its answer back."""

    wait: float
    held: float = 0.0


def keys_of(name: str, address: str) -> tuple[str, str, str]:
    """Name what an attempt counts against: the pair, the address, the name. Digests, so that no name is kept."""
    same = unicodedata.normalize("NFKC", name).strip().casefold()
    return _digest("pair", same, address), _digest("address", address), _digest("name", same)


def held(tried: int) -> float:
    """Say for how long an answer is held back after so many attempts on a name."""
    return min(_HELD, _STEP * max(0, tried - NAME.free))


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode("utf-8", "surrogatepass")).hexdigest()[:32]


class Tally:
    """The counts of one process, for when there is nothing that all share."""

    def __init__(self) -> None:
        self._counts: dict[str, tuple[int, float, float]] = {}  # tried, until, forgotten at

    def attempt(self, keys: tuple[str, ...], now: float) -> Verdict:
        """Count an attempt, unless it has to wait."""
        known = [self._known(key, now) for key in keys]
        wait = max(until for _, until in known) - now
        if wait > 0:
            return Verdict(wait)
        for key, rule, (tried, until) in zip(keys, RULES, known, strict=True):
            lock = rule.wait(tried + 1)
            self._keep(key, (tried + 1, now + lock if lock else until, now + QUIET), now)
        return Verdict(0.0, held(known[-1][0] + 1))

    def good(self, keys: tuple[str, ...], now: float) -> None:
        """Take an attempt back, which was right."""
        pair, *others = keys
        self._counts.pop(pair, None)
        for key in others:
            tried, until = self._known(key, now)
            if tried:
                self._counts[key] = (tried - 1, until, self._counts[key][2])

    def _known(self, key: str, now: float) -> tuple[int, float]:
        tried, until, end = self._counts.get(key, (0, 0.0, 0.0))
        return (tried, until) if now < end else (0, 0.0)

    def _keep(self, key: str, count: tuple[int, float, float], now: float) -> None:
        if len(self._counts) >= _MOST and key not in self._counts:
            self._counts = {key: each for key, each in self._counts.items() if now < each[2]}
        if len(self._counts) >= _MOST and key not in self._counts:
            del self._counts[min(self._counts, key=lambda each: self._counts[each][2])]
        self._counts[key] = count
