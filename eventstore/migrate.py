"""Brings a database to this release: plain SQL under an advisory lock, the first partitions, and the log's first event.

Safe to run by any number of processes at once, and again at every start. Needs a direct connection (a session lock does
not live through a pooler) as the owner of the schema.
"""

from __future__ import annotations

import secrets
from importlib import resources
from typing import Any, Final

import psycopg
from psycopg import conninfo
from yoyo import read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI

from heroctl.domain.events import ClusterCreated, encode

_LOCK: Final = 0x48657243746C  # any number, the same in every release
PARTITION: Final = 1_000_000  # events


def migrate(dsn: str, *, partition: int = PARTITION) -> None:
    """Apply what is missing, and begin the log if it is empty. `partition`: events in each new partition."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        connection.execute("CREATE SCHEMA IF NOT EXISTS heroctl")
        _apply(dsn)
        connection.execute("SELECT heroctl.make_partitions(%s)", [partition])
        incarnation = new_incarnation()
        tag, schema, data = encode(ClusterCreated(secrets.token_hex(8), incarnation))
        connection.execute("SELECT heroctl.begin_log(%s, %s, %s, %s)", [incarnation, tag, schema, data])


def new_incarnation() -> str:
    """Draw the name of a history."""
    return secrets.token_hex(6)


def _apply(dsn: str) -> None:
    with resources.as_file(resources.files("eventstore") / "sql") as folder:
        backend = PostgresqlPsycopgBackend(_uri(dsn), "_yoyo_migration")
        with backend:
            backend.init_database()
            backend.apply_migrations(backend.to_apply(read_migrations(str(folder))))


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
