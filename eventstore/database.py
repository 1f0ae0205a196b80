"""Connections to Postgres: how they are made, what they may cost, and what their failures mean."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, Self

import psycopg
from psycopg import AsyncConnection, conninfo
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from eventstore import arrays
from eventstore.log import LogUnavailable

# Seconds for a statement, the server's own five included. A network that swallows packets is asked again ever more
# seldom by the kernel: after six seconds another connection is the quicker way back.
CALL: Final = 6.0
# A peer that is gone without a word is noticed as early by the kernel, idle connections within about ten seconds.
_ALWAYS: Final = {
    "application_name": "heroctl",
    "client_encoding": "UTF8",
    "connect_timeout": "2",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "6000",
    "target_session_attrs": "read-write",
}
# What every session of ours has. Plans of prepared statements are made while tables are tiny and kept: never by a
# sequential scan. A server before 18 gives such a scan a cost of ten thousand million where there is no other way, and
# would compile each statement that has one.
SESSION: Final = {"statement_timeout": "5s", "lock_timeout": "5s", "enable_seqscan": "off", "jit": "off"}
_OPTIONS: Final = " ".join(f"-c {name}={value}" for name, value in SESSION.items())
# A caller without a connection asks the pool so often, for so many seconds each time, before it is told so. The pool
# itself gives up at once: its pauses are a second and more, while each who asks makes it try again.
_ASKS, _ASK = 4, 0.5
_LAST: Final = 1.0  # seconds for the pool to close
_ATTEMPTS, _STAGGER = 4, 0.5  # to connect, at once; seconds from one to the next


def lost(error: psycopg.Error) -> bool:
    """Tell whether the connection, or the server behind it, went away: nobody knows what became of the statement."""
    state = error.sqlstate
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and (
        state is None or state.startswith(("08", "57P"))
    )


def temporary(error: psycopg.Error) -> bool:
    """Tell whether the same statement may succeed a moment later: a time-out, a full disk, a server in recovery."""
    return isinstance(error, psycopg.OperationalError | psycopg.errors.ReadOnlySqlTransaction) or lost(error)


class Connection(AsyncConnection[TupleRow]):
    """A connection that is sought by more than one attempt, and hung up when the caller of a statement is cancelled.

    Hung up: asking the server to cancel, and waiting for its answer, would take ten seconds where it does not answer.
    """

    @classmethod
    async def connect(cls, conninfo: str = "", **settings: Any) -> Self:  # noqa: ANN401 - psycopg's own
        """Connect as psycopg does. An attempt that hears nothing is joined by others: the first to end decides.

        A server that comes back may have lost what it was sent before: only an attempt begun since then is heard.
        """
        attempts: list[asyncio.Task[Self]] = []
        winner: asyncio.Task[Self] | None = None
        try:
            while winner is None:
                if len(attempts) < _ATTEMPTS:
                    attempts.append(asyncio.create_task(super().connect(conninfo, **settings)))
                done, _ = await asyncio.wait(attempts, timeout=_STAGGER, return_when=asyncio.FIRST_COMPLETED)
                winner = next(iter(done), None)
            return winner.result()
        finally:
            for attempt in attempts:
                if attempt is not winner:
                    attempt.cancel()
                    attempt.add_done_callback(_hang_up)

    async def cancel_safe(self, *, timeout: float = 0.0) -> None:
        """Hang up."""
        del timeout
        self.pgconn.finish()


class Database:
    """A pool of connections for short statements, and connections of one's own.

    `dsn` may lead through a transaction pooler if `direct`, which does not, is given too. What else a session sets when
    it begins must then be set on the role (`SESSION`); `migrate` does that.
    """

    def __init__(self, dsn: str, *, direct: str | None = None, connections: int = 4) -> None:
        self._dsn = _complete(dsn, pooled=direct is not None)
        self._direct = self._dsn if direct is None else _complete(direct, pooled=False)
        self.prepare: Final = direct is None
        self._pool = AsyncConnectionPool(
            self._dsn,
            connection_class=Connection,
            kwargs={"autocommit": True, "prepare_threshold": 5 if self.prepare else None},
            min_size=1,
            max_size=connections,
            timeout=_ASK,
            reconnect_timeout=0.0,
            configure=_configure,
            open=False,
        )

    async def __aenter__(self) -> Self:
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close(timeout=_LAST)

    async def connect(self, *, direct: bool = False) -> Connection:
        """Make a connection of the caller's own, in autocommit. Raises psycopg.Error."""
        connection = await Connection.connect(
            self._direct if direct else self._dsn,
            autocommit=True,
            prepare_threshold=5 if direct or self.prepare else None,
        )
        arrays.register(connection)
        return connection

    async def fetch(self, query: str, parameters: Sequence[Any] = (), *, once: bool = False) -> list[tuple[Any, ...]]:
        """Run a statement on a pooled connection, return its rows. Raises LogUnavailable; other errors are bugs.

        Answered within `CALL` seconds. When the connection turns out to be broken it is sent again over another one,
        unless it may run only `once`.
        """
        try:
            async with asyncio.timeout(CALL):
                return await self._insist(query.encode(), parameters, 1 if once else self._pool.max_size + 1)
        except TimeoutError:
            await self._pool.drain()  # what is idle there would not be answered either, six seconds each
            raise LogUnavailable("the database does not answer", unknown=True) from None

    async def _insist(self, query: bytes, parameters: Sequence[Any], attempts: int) -> list[tuple[Any, ...]]:
        asks = _ASKS
        while True:
            attempts -= 1
            try:
                return await self._fetch(query, parameters)
            except PoolTimeout as error:
                asks -= 1
                if not asks:
                    raise LogUnavailable(str(error)) from error
            except psycopg.Error as error:
                broken = lost(error)
                if broken and attempts > 0:
                    continue
                if temporary(error):
                    raise LogUnavailable(str(error), unknown=broken) from error
                raise

    async def _fetch(self, query: bytes, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        with _heeding_cancellation():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(query, parameters, binary=True)
                return await cursor.fetchall() if cursor.description else []


def _hang_up(attempt: asyncio.Task[Connection]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().pgconn.finish()


@contextlib.contextmanager
def _heeding_cancellation() -> Iterator[None]:
    # The pool waits with asyncio.wait_for, which before Python 3.12 loses a cancellation that comes with the result:
    # a task that is to end would run for ever.
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    yield
    if task and task.cancelling() > before:
        raise asyncio.CancelledError


async def _configure(connection: AsyncConnection) -> None:
    arrays.register(connection)


def _complete(dsn: str, *, pooled: bool) -> str:
    given = conninfo.conninfo_to_dict(dsn)
    settings: dict[str, Any] = {**_ALWAYS, **given}
    if not pooled:
        settings["options"] = f"{_OPTIONS} {given.get('options') or ''}".strip()
    return conninfo.make_conninfo(**settings)
