"""The sweep of the vault: rows that no event names, or that their name was dropped from, are removed after an hour.

That is how a credential is deleted, and what becomes of one whose event was never appended. A row is written before
the event that names it, so nothing may go by a view that is behind: the log's head is read after the rows were listed,
and only a view that has applied everything up to there knows which of them are named.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

import structlog

from eventstore.log import LogUnavailable
from eventstore.vault import Vault
from eventstore.view import View
from heroctl.domain.credentials import KINDS, orphans

AGE: Final = 3600.0  # seconds; whoever writes a row appends its event within some
EVERY: Final = 300.0  # seconds, jittered
_PATIENCE: Final = 10.0  # seconds for the view to reach the head

_log: Final = structlog.get_logger(__name__)


class Sweep:
    """Sweeps while `run` runs and this process `coordinates`: one is enough."""

    def __init__(self, view: View, vault: Vault, coordinates: Callable[[], bool]) -> None:
        self._view = view
        self._vault = vault
        self._coordinates = coordinates

    async def run(self) -> None:
        """Sweep every few minutes, for ever."""
        while True:
            await asyncio.sleep(EVERY * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
            if not self._coordinates():
                continue
            try:
                removed = await self.sweep()
            except LogUnavailable as error:
                _log.warning("vault_not_swept", error=str(error))
            else:
                if removed:
                    _log.info("vault_swept", removed=removed)

    async def sweep(self) -> int:
        """Go through the old rows, a thousand at a time; return how many went. Raises LogUnavailable."""
        removed, after = 0, ""
        while rows := await self._vault.older(AGE, KINDS, after):
            if not await self._is_abreast():
                break
            gone = orphans(self._view.state, rows)
            if gone:
                await self._vault.delete(gone)
            removed, after = removed + len(gone), rows[-1]
        return removed

    async def _is_abreast(self) -> bool:
        """Tell whether the view knows all that is in the log by now, and of this very history."""
        view, seen = self._view, self._view.index
        head = await view.head()
        if head.index < seen or not await view.reached(head.index, _PATIENCE):
            return False
        return view.sound and view.state.incarnation == head.incarnation
