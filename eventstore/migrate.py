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

from eventstore import rights
from eventstore.log import LogUnavailable
from heroctl.domain.events import ClusterCreated, LevelRaised, encode, release_level

PARTITION: Final = 250_000  # events; a start folds no more than that after a snapshot
_LOCK: Final = 0x48657243746C  # any number, the same in every release
_TABLE: Final = "_yoyo_migration"
_PATIENT: Final = "SET statement_timeout = 0; SET lock_timeout = 0"  # whatever the role has


def migrate(dsn: str, *, partition: int = PARTITION, application: str = "") -> list[str]:
    """Apply what is missing, and begin the log if it is empty.

    `partition`: events in each new partition. `application`: a role that gets what a process needs and no more: it may
    neither change nor remove an event; once it has got that, it gets what later releases add without being named.
    Return what an administrator of the server is still to run. Raises LogUnavailable when the database cannot be
    reached, or is of an older release and this role may not change it. What a newer release has made is left as it is.
    """
    left: list[str] = []
    with _connected(dsn) as connection:
        there, wanted = _applied(connection), _wanted()
        if not wanted <= there or (application and wanted == there):
            _bring(dsn, connection)
            rights.grant(connection, application)
        connection.execute("SELECT heroctl.make_partitions(%s)", [partition])
        _begin(connection)
        if application:
            left = rights.limit(connection, application)
    return left


def _bring(dsn: str, connection: psycopg.Connection) -> None:
    connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
    if _wanted() <= _applied(connection):
        return  # by another, while we waited
    try:
        connection.execute("CREATE SCHEMA IF NOT EXISTS heroctl")
    except psycopg.errors.InsufficientPrivilege as error:
        raise LogUnavailable(
            "the database is not of this release, and this role may not change it:"
            " run `python -m eventstore migrate` as its owner"
        ) from error
    _apply(dsn)


def _begin(connection: psycopg.Connection) -> None:
    """Begin the log if it is empty, at the level of this release: no older process has ever written to it."""
    incarnation, level = new_incarnation(), release_level()
    created = encode(ClusterCreated(secrets.token_hex(8), incarnation))
    begin = connection.execute("SELECT heroctl.begin_log(%s, %s, %s, %s)", [incarnation, *created])
    if begin.fetchone() == (True,) and level > 1:
        connection.execute("SELECT heroctl.raise_level(-1, 1, %s, %s, %s, %s)", [level, *encode(LevelRaised(level))])


def new_incarnation() -> str:
    """Draw the name of a history."""
    return secrets.token_hex(6)


@contextlib.contextmanager
def _connected(dsn: str) -> Iterator[psycopg.Connection]:
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(_PATIENT)
            yield connection
    except psycopg.OperationalError as error:
        raise LogUnavailable(str(error)) from error


def _wanted() -> set[str]:
    return {file.name.removesuffix(".sql") for file in _folder().iterdir() if file.name.endswith(".sql")}


def _applied(connection: psycopg.Connection) -> set[str]:
    """Say what is there, for all that this role can see, once nobody is at it: rights to what is new are given last."""
    query = sql.SQL("SELECT migration_id FROM heroctl.{}").format(sql.Identifier(_TABLE))
    try:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", [_LOCK])
            return {name for (name,) in connection.execute(query)}
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName, psycopg.errors.InsufficientPrivilege):
        return set()


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
        {**known, "schema": "heroctl", "options": f"{known.get('options', '')} -c statement_timeout=0".strip()},
    )
