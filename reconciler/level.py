"""When the log's level may rise: all processes that live have been of a newer release for a while."""

from __future__ import annotations

from collections.abc import Callable


class Rise:
    """Watches what all that live can fold. `clock` gives monotonic seconds, `after` is how many it must have been so.

    Until then nothing is in the log that the release before could not fold, and that one may come back.
    """

    def __init__(self, clock: Callable[[], float], after: float) -> None:
        self._clock = clock
        self._after = after
        self._since: tuple[int, float] | None = None  # the level that all can fold, and from when on

    def restart(self) -> None:
        """Begin to count anew: it was another who watched before."""
        self._since = None

    def due(self, held: int, least: int | None) -> int | None:
        """Return the level to raise the log to, which is at `held`; `least` is what all can fold, None: not known."""
        if least is None or least <= held:
            self._since = None
            return None
        if self._since is None or self._since[0] != least:
            self._since = least, self._clock()
        return least if self._clock() - self._since[1] >= self._after else None
