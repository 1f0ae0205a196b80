"""The throttle of logins: attempts are counted for all apis in Redis, or, where it does not answer, here."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable
from typing import Any, Final

from api import attempts
from api.attempts import QUIET, RULES, Tally, Verdict
from api.limits import Away, Counters
from api.proxies import whose
from heroctl.domain.errors import TooMany

_KEY: Final = "heroctl:login:"
_RULES: Final = tuple(
    int(number * 1000) if at else int(number) for rule in RULES for at, number in enumerate(rule)
)  # free, first, longest in ms


class Throttle:
    """Judges attempts to log in. `pause` lets seconds pass."""

    def __init__(
        self,
        counters: Counters | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        self._counters = counters
        self._script = counters.script("attempts.lua") if counters else None
        self._tally = Tally()
        self._clock = clock
        self._pause = pause

    async def attempt(self, name: str, address: str) -> None:
        """Count an attempt, and hold it back if many go for this name. Raises TooMany `too_many_logins`."""
        verdict = await self._judged(attempts.keys_of(name, whose(address)))
        if verdict.wait > 0:
            seconds = math.ceil(verdict.wait)
            raise TooMany(
                "too_many_logins", f"too many attempts to log in: try again in {seconds} s", retry_after=seconds
            )
        if verdict.held:
            await self._pause(verdict.held)

    async def good(self, name: str, address: str) -> None:
        """Take an attempt back: it was right."""
        keys = attempts.keys_of(name, whose(address))
        self._tally.good(keys, self._clock())
        with contextlib.suppress(Away):
            await self._asked("good", keys)

    async def _judged(self, keys: tuple[str, ...]) -> Verdict:
        try:
            wait, *tried = await self._asked("try", keys)
        except Away:
            return self._tally.attempt(keys, self._clock())
        return Verdict(wait / 1000, 0.0 if wait else attempts.held(tried[-1]))

    async def _asked(self, what: str, keys: tuple[str, ...]) -> list[int]:
        if self._counters is None or self._script is None or self._counters.away:
            raise Away
        names = [_KEY + key for key in keys]
        answer: list[int] = await self._counters.ask(self._script(names, [what, int(QUIET * 1000), *_RULES]))
        return answer
