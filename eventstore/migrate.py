"""Brings a database to this release: plain SQL under an advisory lock, the first partitions, and the log's first event.

Safe to run by any number of processes at once, and again at every start: a database that is up to date is only looked
at. Otherwise it needs a direct connection (a session lock does not live through a pooler) as the owner of the schema.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from importlib import resources
from typing import Any, Final

import psycopg
from psycopg import conninfo, sql
from yoyo import read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI

from eventstore.log import LogUnavailable
from heroctl.domain.events import ClusterCreated, encode

PARTITION: Final = 1_000_000  # events
_LOCK: Final = 0x48657243746C  # any number, the same in every release
_TABLE: Final = "_yoyo_migration"
# The log is written by its functions alone, with their owner's rights.
_READ_ONLY: Final = ("head", "events", "partitions", "streams", "batches")


def migrate(dsn: str, *, partition: int = PARTITION, application: str = "") -> None:
    """Apply what is missing, and begin the log if it is empty.

    `partition`: events in each new partition. `application`: a role that gets what a process needs and no more: it may
    neither change nor remove an event. Raises LogUnavailable when the database cannot be reached.
    """
    with _connected(dsn) as connection:
        if application or not _current(connection):
            connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
            connection.execute("CREATE SCHEMA IF NOT EXISTS heroctl")
            _apply(dsn)
        connection.execute("SELECT heroctl.make_partitions(%s)", [partition])
        incarnation = new_incarnation()
        tag, schema, data = encode(ClusterCreated(secrets.token_hex(8), incarnation))
        connection.execute("SELECT heroctl.begin_log(%s, %s, %s, %s)", [incarnation, tag, schema, data])
        if application:
            _grant(connection, application)


def new_incarnation() -> str:
    """Draw the name of a history."""
    return secrets.token_hex(6)


@contextlib.contextmanager
def _connected(dsn: str) -> Iterator[psycopg.Connection]:
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            yield connection
    except psycopg.OperationalError as error:
        raise LogUnavailable(str(error)) from error


def _current(connection: psycopg.Connection) -> bool:
    names = {file.name.removesuffix(".sql") for file in _folder().iterdir() if file.name.endswith(".sql")}
    query = sql.SQL("SELECT migration_id FROM heroctl.{}").format(sql.Identifier(_TABLE))
    try:
        applied = {name for (name,) in connection.execute(query)}
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return False
    return names <= applied


def _apply(dsn: str) -> None:
    with resources.as_file(_folder()) as folder, PostgresqlPsycopgBackend(_uri(dsn), _TABLE) as backend:
        backend.init_database()
        backend.apply_migrations(backend.to_apply(read_migrations(str(folder))))


def _folder() -> Any:  # noqa: ANN401 - importlib's Traversable has two homes, by Python's version
    return resources.files("eventstore") / "sql"


def _uri(dsn: str) -> DatabaseURI:
    known: dict[str, Any] = conninfo.conninfo_to_dict(dsn)
    # Its own bookkeeping stands beside our tables; what it has no field for goes to the driver as it is.
    return DatabaseURI(
        "postgresql+psycopg",
        known.pop("user", None),
        known.pop("password", None),
        known.pop("host", None),
        known.pop("port", None),
        known.pop("dbname", None),
        {**known, "schema": "heroctl"},
    )


def _grant(connection: psycopg.Connection, role: str) -> None:
    to = sql.Identifier(role)
    read_only = sql.SQL(", ").join(sql.Identifier("heroctl", table) for table in _READ_ONLY)
    for statement in (
        sql.SQL("GRANT USAGE ON SCHEMA heroctl TO {0}"),
        sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA heroctl TO {0}"),
        sql.SQL("REVOKE INSERT, UPDATE, DELETE ON {1} FROM {0}"),
    ):
        connection.execute(statement.format(to, read_only))
    for (first,) in connection.execute("SELECT first FROM heroctl.partitions").fetchall():
        partition = sql.Identifier("heroctl", f"events_{first}")
        connection.execute(sql.SQL("REVOKE INSERT, UPDATE, DELETE ON {} FROM {}").format(partition, to))
