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


def cluster_settings(state: State) -> ClusterSettings:
    """Give what holds now. Keys that a newer release has set are passed over."""
    return _read(tuple(state.settings.items()))


@lru_cache(maxsize=64)
def _read(items: tuple[tuple[str, Value], ...]) -> ClusterSettings:
    return msgspec.convert(dict(items), ClusterSettings)
