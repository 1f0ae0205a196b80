"""When each node was heard last, by this process's own clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from eventstore.beats import Beat
from heroctl.domain.state import State
from heroctl.domain.topics import FLEET
from reconciler.planner.liveness import Heard

POLL: Final = 1.0  # seconds between two reads of the beats
_LATE: Final = 2.0  # seconds: a read that comes later than this was not the nodes' fault


class Hearing:
    """Turns counters into silences. `clock` gives monotonic seconds.

    Time stands still while the beats cannot be read: what nobody listened to is not silence. So a read that comes late
    moves the moment at which each node was heard forward by the gap.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.restart()

    def restart(self) -> None:
        """Forget everything: what was heard before a take-over was heard by another."""
        self._read_at = self._clock()
        self._beats: Mapping[str, Beat] | None = None
        self._heard_at: dict[str, float] = {}
        self._beating: set[str] = set()
        self._said: dict[str, Heard] | None = None
        self._said_of = (-1, -1)  # index of the fleet, and the number of nodes

    def take(self, beats: Mapping[str, Beat]) -> None:
        """Take what was read just now. The first read shows where the counters stand, and nothing else."""
        now = self._clock()
        gap = now - self._read_at - POLL
        if gap > _LATE:
            self._heard_at = {node: at + gap for node, at in self._heard_at.items()}
        before, self._beats, self._read_at, self._said = self._beats, beats, now, None
        if before is None:
            return
        for node, beat in beats.items():
            if before.get(node) != beat:
                self._heard_at[node] = now
                self._beating.add(node)

    def heard(self, state: State) -> dict[str, Heard]:
        """Say of each node with a session what was heard of it, as of the last read.

        Until the next read, or until nodes change, it is the very same answer.
        """
        nodes = state.topics.get(FLEET, 0), len(state.nodes)
        if self._said is None or nodes != self._said_of:
            self._said, self._said_of = self._listen(state), nodes
        return self._said

    def _listen(self, state: State) -> dict[str, Heard]:
        at = self._read_at
        for gone in self._heard_at.keys() - state.nodes.keys():
            del self._heard_at[gone]
        return {
            node.id: self._of(node.id, round((at - self._heard_at.setdefault(node.id, at)) * 1000))
            for node in state.nodes.values()
            if node.session
        }

    def _of(self, node: str, silent: int) -> Heard:
        beat = self._beats.get(node) if self._beats is not None else None
        return Heard(beat.session if beat is not None else 0, silent, beating=node in self._beating)
