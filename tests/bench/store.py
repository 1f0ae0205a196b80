"""A durable log with a past, for what is measured below the HTTP API."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eventstore.log import Append
from eventstore.migrate import migrate
from heroctl.domain.events import Event
from tests import servers
from tests.bench import fill, past
from tests.bench.past import Past
from tests.e2e import leftovers

EVENTS: Final = 100_000
STREAMS: Final = 20_000


@dataclass(slots=True)
class Store:
    """A migrated and filled database on a server of its own, with fsync on."""

    server: servers.Postgres
    past: Past

    @property
    def dsn(self) -> str:
        """How to reach it."""
        return self.server.dsn()

    @property
    def event(self) -> Event:
        """An event of the kind that a log has most of: what an agent reports of a healthy replica."""
        return fill.seen(next(iter(self.past.state.allocs.values())), "healthy", 10.5)


@contextlib.contextmanager
def store(events: int = EVENTS) -> Iterator[Store]:
    """Run a server with a log that holds so many events, on more than 20,000 streams."""
    folder = Path(tempfile.mkdtemp(prefix="heroctl-bench-"))
    watcher = leftovers.watch(folder)
    try:
        with servers.postgres(folder / "postgres") as server:
            migrate(server.dsn())
            made = past.write(server.dsn(), events=events, running=500, gone=STREAMS)
            yield Store(server, made)
    finally:
        leftovers.remove(folder)
        watcher.kill()
        watcher.wait()


class Lines:
    """Streams of writers that do not meet: each takes the next one, expects it where it left it, and moves it."""

    def __init__(self, store: Store, share: int = 0, of: int = 1) -> None:
        """Take one of so many equal shares of the streams."""
        self._lasts = store.past.streams
        self._names = sorted(self._lasts)[share::of]
        self._next = 0
        self._event = store.event

    def append(self, count: int = 1) -> Append:
        """Give an append of so many events on the next stream."""
        name = self._names[self._next % len(self._names)]
        self._next += 1
        return Append((self._event,) * count, (name,), ((name, self._lasts[name]),), meta=fill.META)

    def moved(self, append: Append, last: int) -> None:
        """Learn where an append stands."""
        self._lasts[append.moves[0]] = last
