"""The peer: the Postgres recorder of the `eventsourcing` package, on a table of its own beside our log."""

from __future__ import annotations

import itertools
import time
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore

_BATCH: Final = 1_000


class Peer:
    """One recorder with one connection.

    `ordered`: as the package comes, under a lock of the whole table, so that its positions are in commit order. Else
    with its database function, which is quicker and takes no lock: a reader by position may miss events.
    """

    def __init__(self, dsn: str, *, ordered: bool, streams: int, events: int, payload: tuple[str, bytes]) -> None:
        where = urlsplit(dsn)
        self._store = PostgresDatastore(
            where.path.removeprefix("/"),
            where.hostname or "",
            where.port or 0,
            where.username or "",
            "",
            enable_db_functions=not ordered,
        )
        table = "peer_ordered" if ordered else "peer_unordered"
        self._recorder = PostgresApplicationRecorder(self._store, events_table_name=table)
        self._recorder.create_table()
        self._topic, self._state = payload
        self._versions = [0] * streams
        self._turn = itertools.cycle(range(streams))
        for _ in range(0, events, _BATCH):
            self._recorder.insert_events([self._next() for _ in range(_BATCH)])

    def _next(self) -> StoredEvent:
        stream = next(self._turn)
        self._versions[stream] += 1
        return StoredEvent(UUID(int=stream), self._versions[stream], self._topic, self._state)

    def rate(self, seconds: float) -> float:
        """Record one event after the other for so long; give events a second."""
        done, began = 0, time.monotonic()
        while (took := time.monotonic() - began) < seconds:
            self._recorder.insert_events([self._next()])
            done += 1
        return done / took

    def close(self) -> None:
        """Hang up."""
        self._store.close()
