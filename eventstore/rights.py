"""What the role of the processes may do with each table and function. The owner may everything, nobody else anything.

The past is safe from a process that was taken over: the log is written by functions that run with their owner's rights,
and no table of it can be changed in any other way. A new table or function is named here, or a test fails.
"""

from __future__ import annotations

from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from eventstore.database import SESSION

_ROWS: Final = "SELECT, INSERT, UPDATE, DELETE"
TABLES: Final[dict[str, str]] = {
    "head": "SELECT",
    "events": "SELECT",
    "partitions": "SELECT",
    "floor": "SELECT",
    "incarnations": "",
    "cursors": _ROWS,
    "deliveries": _ROWS,
    "streams": "SELECT",
    "batches": "SELECT",
    "keys": "SELECT",
    "lease": "SELECT, UPDATE",
    "members": _ROWS,
    "beats": _ROWS,
    "vault": "SELECT, INSERT, DELETE",
    "sessions": _ROWS,
    "refusals": "SELECT",
    "uses": _ROWS,
    "snapshots": _ROWS,
    "snapshot_rows": "SELECT, INSERT, DELETE",
    "sampled": _ROWS,
    "samples": _ROWS,
    "samples_10s": "SELECT, INSERT",
    "samples_1m": "SELECT, INSERT",
    "samples_5m": "SELECT, INSERT",
    "samples_rolled": "SELECT, UPDATE",
    "expositions": _ROWS,
    "_yoyo_migration": "SELECT",  # a process looks whether the database is of its release
    "_yoyo_log": "",
    "_yoyo_version": "",
    "yoyo_lock": "",
}
CALLED: Final = frozenset(
    {
        "append",
        "begin_cursor",
        "begin_log",
        "drop_samples",
        "elect",
        "hold",
        "kept",
        "make_partitions",
        "note_refusals",
        "origin",
        "prune_batches",
        "prune_keys",
        "raise_level",
        "redraw",
        "roll_blocks",
        "roll_samples",
        "sample_partition",
        "transfer",
    }
)  # functions
INTERNAL: Final = frozenset({"append_one", "raise_floor"})  # called by others, with their owner's rights

TABLE: Final = """
    SELECT relname::text FROM pg_class WHERE relnamespace = 'heroctl'::regnamespace AND relkind IN ('r', 'p')
    AND NOT relispartition AND NOT starts_with(relname::text, 'events_') ORDER BY relname"""
FUNCTION: Final = "SELECT proname::text FROM pg_proc WHERE pronamespace = 'heroctl'::regnamespace ORDER BY proname"
_CLEAR: Final = (
    "REVOKE ALL ON SCHEMA heroctl FROM {0}",
    "REVOKE ALL ON ALL TABLES IN SCHEMA heroctl FROM {0}",
    "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA heroctl FROM {0}",
)
_APPLICATIONS: Final = """
    SELECT DISTINCT pg_get_userbyid(a.grantee) FROM pg_proc f, aclexplode(f.proacl) AS a
    WHERE f.pronamespace = 'heroctl'::regnamespace AND f.proname = 'append' AND a.grantee NOT IN (0, f.proowner)"""
_SET: Final = """
    SELECT word FROM pg_db_role_setting, unnest(setconfig) AS word
    WHERE setrole = %s::regrole
    AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))"""


def grant(connection: psycopg.Connection, application: str = "") -> None:
    """Give a role its rights, and no others; and every role that has them already those of this release."""
    roles = {name for (name,) in connection.execute(_APPLICATIONS)} | ({application} if application else set())
    with connection.transaction():
        _run(connection, sql.SQL("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA heroctl FROM PUBLIC"))
        for role in sorted(roles):
            _grant(connection, sql.Identifier(role))


def _grant(connection: psycopg.Connection, role: sql.Identifier) -> None:
    for statement in _CLEAR:
        _run(connection, sql.SQL(statement).format(role))
    _run(connection, sql.SQL("GRANT USAGE ON SCHEMA heroctl TO {}").format(role))
    for table in there(connection, TABLE):
        if rights := TABLES.get(table, ""):
            name = sql.Identifier("heroctl", table)
            _run(connection, sql.SQL("GRANT {} ON {} TO {}").format(sql.SQL(rights), name, role))
    for function in there(connection, FUNCTION):
        if function in CALLED:
            _run(
                connection, sql.SQL("GRANT EXECUTE ON FUNCTION heroctl.{} TO {}").format(sql.Identifier(function), role)
            )


def there(connection: psycopg.Connection, query: LiteralString) -> list[str]:
    """Name the tables or the functions that there are: `TABLE`, `FUNCTION`. Partitions are reached by their parent."""
    return [name for (name,) in connection.execute(query).fetchall()]


def limit(connection: psycopg.Connection, application: str) -> list[str]:
    """Let every session of a role begin with its time-outs, also behind a pooler.

    Return the statements that only an administrator of the server may run, if they are still to be run.
    """
    there = {word for (word,) in connection.execute(_SET, [sql.Identifier(application).as_string()])}
    wanted = {name: value for name, value in SESSION.items() if f"{name}={value}" not in there}
    begin = sql.SQL("ALTER ROLE {} IN DATABASE {}").format(
        sql.Identifier(application), sql.Identifier(connection.info.dbname)
    )
    left = []
    for name, value in wanted.items():
        statement = sql.SQL("{} SET {} = {}").format(begin, sql.Identifier(name), sql.Literal(value))
        try:
            _run(connection, statement)
        except psycopg.errors.InsufficientPrivilege:
            left.append(statement.as_string(connection) + ";")
    return left


def _run(connection: psycopg.Connection, statement: Any) -> None:  # noqa: ANN401 - SQL, composed or not
    connection.execute(statement)
