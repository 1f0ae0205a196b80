"""How deliveries get there: when one is tried again, when it is given up, and when a receiver rests.

A receiver gets what is new in order, one after the other. What failed comes again by a schedule of its own and holds
nothing back. One that keeps failing rests: then a single delivery tries it now and then, and all others wait.
"""

from __future__ import annotations

import hashlib
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final, Literal

from msgspec import Struct

Outcome = Literal["delivered", "again", "gone"]
DeliveryState = Literal["pending", "delivered", "failed", "dropped"]

# Seconds between one attempt and the next; after the last there is none.
SCHEDULE: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
JITTER: Final = 0.2  # of a pause, added to it
LONGEST: Final = 86_400.0  # seconds that a receiver may ask us to wait
TIMEOUT: Final = 15.0  # seconds for an attempt, whole
MOST_PENDING: Final = 10_000  # for one webhook; then it is switched off
ANSWER: Final = 1_024  # bytes of an answer that are kept
_GONE: Final = 410
_FAILURES: Final = 5  # one after the other, of whatever deliveries, until a receiver rests
_REST: Final = 30.0  # seconds, doubled each time
_LONGEST_REST: Final = 600.0


def judge(status: int) -> Outcome:
    """Say what an answer means. A redirect is followed nowhere: it is no success."""
    if 200 <= status < 300:
        return "delivered"
    return "gone" if status == _GONE else "again"


def pause(tried: int, identity: str, asked: float = 0.0) -> float | None:
    """Say in how many seconds to try again after so many attempts; None: never. `asked`: what the receiver asked for.

    The jitter is a hash of the delivery and the attempt, so that a crowd that failed together comes back one by one.
    """
    if tried > len(SCHEDULE):
        return None
    usual = SCHEDULE[max(tried, 1) - 1] * (1 + JITTER * share(f"{identity}/{tried}"))
    return max(usual, min(asked, LONGEST))


def share(word: str) -> float:
    """Give a number from 0 to 1, below 1, that is the same for the same word."""
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest()) / 2**32


def asked_for(header: str, now: float) -> float:
    """Read a `Retry-After`, seconds or a date, as seconds from `now`; 0.0: it says nothing. `now` since the epoch."""
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = parsedate_to_datetime(text)
        return max(0.0, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, OverflowError):
        return 0.0


class Breaker(Struct, frozen=True):
    """Whether a receiver rests: how often it failed one time after the other, and until when it is left alone."""

    failures: int = 0
    until: float = 0.0

    @property
    def open(self) -> bool:
        """Whether it keeps failing: then one delivery at a time tries it, and all others wait."""
        return self.failures >= _FAILURES

    def rests(self, now: float) -> float:
        """Say for how many seconds it is left alone yet."""
        return max(0.0, self.until - now) if self.open else 0.0

    def succeeded(self) -> Breaker:
        """It took a delivery."""
        return Breaker()

    def failed(self, now: float, identity: str) -> Breaker:
        """It did not."""
        failures = self.failures + 1
        if failures < _FAILURES:
            return Breaker(failures)
        rest = min(_REST * 2.0 ** min(failures - _FAILURES, 10), _LONGEST_REST)
        return Breaker(failures, now + rest * (1 + JITTER * share(f"{identity}/{failures}")))
