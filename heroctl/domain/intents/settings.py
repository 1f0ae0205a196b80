"""Intents on the settings of the cluster."""

from __future__ import annotations

from collections.abc import Mapping

from heroctl.domain.cluster_settings import Value, cluster_settings
from heroctl.domain.errors import Conflict
from heroctl.domain.events import ClusterSettingsSet
from heroctl.domain.intents.change import NOTHING, Change, claim_stream
from heroctl.domain.state import State
from heroctl.domain.topics import SETTINGS

STREAM = claim_stream("cluster", "settings")


def settings_index(state: State) -> int:
    """Return the index of the last change of the settings; 0: there was none."""
    return state.topics.get(SETTINGS, 0)


def set_settings(state: State, given: Mapping[str, Value], check_index: int | None = None) -> Change:
    """Set some keys; the others stay as they are, and what is so already is no change.

    `check_index` is the client's guard: the index of the last change. Refuses with `settings_changed`.
    """
    index = settings_index(state)
    if check_index is not None and check_index != index:
        raise Conflict("settings_changed", f"the settings changed at index {index}, not {check_index}: read them again")
    known = cluster_settings(state)
    changed = {key: value for key, value in given.items() if getattr(known, key) != value}
    return Change((ClusterSettingsSet(changed),), (STREAM,)) if changed else NOTHING
