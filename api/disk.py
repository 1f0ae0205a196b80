"""The database's disk, where it is this machine's: what asks for more is refused before it is full.

What is left then belongs to the cluster itself: reports of agents and decisions go on being written, and whatever
stops, deletes or revokes is still accepted, for that is what helps.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import structlog

from heroctl.domain.errors import Unavailable
from heroctl.domain.events import (
    AllocStopRequested,
    BrakeRequested,
    DeploymentFailRequested,
    DeploymentPaused,
    Event,
    JobDeleted,
    JobStopped,
    NodeContainersReleased,
    NodeDrainCancelled,
    NodeEligibilitySet,
    NodeRemoved,
    NodeSessionOpened,
    NodeUnknownContainers,
    SecretDeleted,
    SessionEnded,
    SessionOpened,
    SigningKeyRotated,
    TokenDeleted,
)

SPARED: Final = frozenset(
    {
        AllocStopRequested,
        DeploymentFailRequested,
        DeploymentPaused,
        JobDeleted,
        JobStopped,
        BrakeRequested,
        NodeContainersReleased,
        NodeDrainCancelled,
        NodeEligibilitySet,
        NodeRemoved,
        NodeSessionOpened,
        NodeUnknownContainers,
        SecretDeleted,
        SessionEnded,
        SessionOpened,
        SigningKeyRotated,
        TokenDeleted,
    }
)  # intents that are accepted all the same
_LOOK: Final = 1.0  # seconds between looks
_ENOUGH: Final = 1.1  # times the reserve must be free again, so that the answer does not flicker

_log: Final = structlog.get_logger(__name__)


class Disk:
    """Watches the file system of a folder; None: there is nothing to watch. `reserve`: bytes that are to stay free."""

    def __init__(
        self, folder: Path | None = None, reserve: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._reserve = reserve
        self._clock = clock
        self._next = -math.inf
        self._low = False

    @property
    def low(self) -> bool:
        """Whether less than the reserve is free."""
        now = self._clock()
        if self._folder is not None and now >= self._next:
            self._next = now + _LOOK
            self._look(self._folder)
        return self._low

    def check(self, events: Iterable[Event]) -> None:
        """Refuse events that ask for more while the disk is low, as `disk_low`."""
        if self.low and not all(event.WRITER == "report" or type(event) in SPARED for event in events):
            raise Unavailable(
                "disk_low",
                "the database's disk is nearly full: free some of it; what stops or deletes is accepted meanwhile",
                retry_after=10,
            )

    def _look(self, folder: Path) -> None:
        try:
            free = shutil.disk_usage(folder).free
        except OSError as error:
            _log.warning("disk_unknown", folder=str(folder), error=str(error))
            self._low = False
            return
        low = free < self._reserve * (_ENOUGH if self._low else 1)
        if low != self._low:
            self._low = low
            (_log.error if low else _log.info)("disk_low" if low else "disk_enough", folder=str(folder), free=free)
