"""Encoded members of lists, kept while they stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from api.wire import encode
from heroctl.domain.state import State

R = TypeVar("R")

_MOST_ITEMS: Final = 200_000


class Items:
    """Encoded members of lists, so that a change of one makes one anew. `stamp` says which state of it was encoded."""

    def __init__(self) -> None:
        self._items: dict[object, tuple[object, bytes]] = {}

    def get(self, key: object, stamp: object, show: Callable[[State, R], object], state: State, record: R) -> bytes:
        """Give a member's bytes; shown and encoded anew if its stamp is another than last time."""
        known = self._items.get(key)
        if known is not None and known[0] == stamp:
            return known[1]
        if len(self._items) >= _MOST_ITEMS:
            self._items.clear()
        made = encode(show(state, record))
        self._items[key] = (stamp, made)
        return made

    def clear(self) -> None:
        """Forget everything: the history is another one."""
        self._items.clear()
