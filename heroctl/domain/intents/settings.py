"""Intents on the settings of the cluster."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from heroctl.domain.cluster_settings import KEYS, ClusterSettings, Value, cluster_settings
from heroctl.domain.errors import Conflict, Invalid, Problem
from heroctl.domain.events import ClusterSettingsSet
from heroctl.domain.intents.change import NOTHING, Change, claim_stream
from heroctl.domain.state import State
from heroctl.domain.topics import SETTINGS

STREAM = claim_stream("cluster", "settings")


def settings_index(state: State) -> int:
    """Return the index of the last change of the settings; 0: there was none."""
    return state.topics.get(SETTINGS, 0)


def set_settings(state: State, given: Mapping[str, object], check_index: int | None = None) -> Change:
    """Set some keys; the others stay as they are. `check_index` is the client's guard: the index of the last change."""
    read = _read(given)
    index = settings_index(state)
    if check_index is not None and check_index != index:
        raise Conflict("settings_changed", f"the settings changed at index {index}, not {check_index}: read them again")
    known = cluster_settings(state)
    changed = {key: value for key, value in read.items() if getattr(known, key) != value}
    return Change((ClusterSettingsSet(changed),), (STREAM,)) if changed else NOTHING


def _read(given: Mapping[str, object]) -> dict[str, Value]:
    problems = [
        Problem(str(key), "unknown_setting", f"there is no setting {key!r}; known are {', '.join(KEYS)}")
        for key in given
        if key not in KEYS
    ]
    read: dict[str, Value] = {}
    for key in KEYS:
        if key in given:
            try:
                read[key] = getattr(msgspec.convert({key: given[key]}, ClusterSettings), key)
            except msgspec.ValidationError as error:
                problems.append(Problem(key, "invalid_value", str(error).partition(" - at")[0].replace("`", "")))
    if problems:
        raise Invalid("invalid_settings", "; ".join(problem.message for problem in problems), details=tuple(problems))
    return read
