"""What an operator may set for the whole cluster while it runs: kept in the log, so that all processes agree."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import msgspec
from msgspec import Struct

from heroctl.domain.state import State

Value = str | bool


class ClusterSettings(Struct, frozen=True):
    """All there are, with what holds where nothing was set."""

    placement: Literal["binpack", "spread"] = "binpack"  # fill nodes one after the other, or keep them alike
    preemption: bool = True  # whether replicas of lower priority make way where there is not room for all
    auto_rebalance: bool = False  # whether replicas move by themselves when a node joins
    log_level: str = ""  # from which all processes write lines; "": each as it was told at its start
    log_level_api: str = ""  # the same for one kind of them, before what holds for all
    log_level_reconciler: str = ""
    log_level_agent: str = ""

    def level_of(self, role: str) -> str:
        """Say from which level on the processes of a role are to write lines; "": as they were told at their start."""
        return str(getattr(self, f"log_level_{role}")) or self.log_level


def cluster_settings(state: State) -> ClusterSettings:
    """Give what holds now. Keys that a newer release has set are passed over."""
    return _read(tuple(state.settings.items()))


@lru_cache(maxsize=64)
def _read(items: tuple[tuple[str, Value], ...]) -> ClusterSettings:
    return msgspec.convert(dict(items), ClusterSettings)
