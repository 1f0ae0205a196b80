"""What this process decided, in its log: a line for each decision, with what it was about and who had asked for it.

The request is that which made the job's present version, or moved it last; a process that did not see it come gives the
index where it stands, `cause`: `heroctl log tail` shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from eventstore.log import Appended
from eventstore.view import Change, View
from heroctl import logs
from heroctl.domain.events import Event
from heroctl.domain.state import State
from reconciler.planner.piece import Piece
from reconciler.traced import When, decided

_MOST: Final = 20_000  # requests that are remembered


class Decisions:
    """Hears who asks for what, and tells what was decided."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._requests: dict[int, str] = {}  # by index, the oldest first

    def heard(self, change: Change) -> None:
        """Remember what users asked for."""
        if change.reloaded:
            self._requests.clear()
        for record in change.records:
            if record.meta.request_id and record.event.WRITER == "intent":
                self._requests[record.index] = record.meta.request_id
        while len(self._requests) > _MOST:
            del self._requests[next(iter(self._requests))]

    def tell(self, piece: Piece, place: Appended, when: When) -> None:
        """Say what was decided, where it stands in the log now."""
        state = self._view.state
        about = {**self._about(state, piece.uid), "trace_id": decided(state, piece.events, place, when)}
        rows = enumerate(piece.events, place.first)
        logs.many("decided", [{**about, **_facts(state, event), "index": index} for index, event in rows])

    def _about(self, state: State, uid: int | None) -> Mapping[str, object]:
        job = state.jobs.get(uid) if uid is not None else None
        if job is None:
            return {}
        cause = job.spec_index
        return {
            "request_id": self._requests.get(cause, ""),
            "cause": cause,
            "namespace": job.namespace,
            "job": job.name,
        }


def _facts(state: State, event: Event) -> Mapping[str, object]:
    """Pick what names things out of a decision."""
    node = state.nodes.get(getattr(event, "node", ""))
    return {
        "type": event.TAG,
        "alloc": getattr(event, "alloc", "") or (getattr(event, "id", "") if event.TAG.startswith("alloc.") else ""),
        "node": node.name if node is not None else getattr(event, "node", ""),
        "deployment": getattr(event, "deployment", ""),
        "reason": getattr(event, "reason", ""),
    }
