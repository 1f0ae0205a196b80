"""Looks a Postgres over, as far as HeroCtl depends on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import psycopg

from eventstore.members import skew
from heroctl.domain.finding import Finding, fail, ok, warn

OLDEST: Final = 150_000  # server_version_num
_SETTINGS: Final = ("fsync", "full_page_writes", "synchronous_commit", "max_connections")
_ASK: Final = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
_STATE: Final = """
    SELECT h.index, h.level, f.index, pg_database_size(current_database()), pg_is_in_recovery()
    FROM heroctl.head h, heroctl.floor f"""
_TIME: Final = "SELECT extract(epoch FROM clock_timestamp())::float8"
SKEWED: Final = 2_000  # ms
_CONNECTED: Final = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"


def kept(dsn: str, kind: str) -> list[bytes]:
    """Give the rows of a kind in the vault; none where it cannot be reached, which `findings` tells."""
    try:
        with psycopg.connect(dsn, connect_timeout=5, autocommit=True) as connection:
            rows = connection.execute("SELECT bytes FROM heroctl.vault WHERE kind = %s ORDER BY id", [kind]).fetchall()
            return [bytes(row) for (row,) in rows]
    except psycopg.Error:
        return []


def findings(dsn: str, wall: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Look at everything; never writes. `wall` gives seconds since the epoch, by this machine's clock."""
    try:
        with psycopg.connect(dsn, connect_timeout=5, autocommit=True) as connection:
            connection.execute("SET statement_timeout = '5s'")
            yield ok("postgres", f"reached, version {connection.info.parameter_status('server_version')}")
            yield from _version(connection.info.server_version)
            yield from _settings(connection)
            yield _clock(connection, wall)
            yield from _log(connection)
    except psycopg.OperationalError as error:
        why = str(error).strip().splitlines()[-1]
        yield fail("postgres", why, "check --dsn, that Postgres runs, and that this server may reach it")
    except psycopg.Error as error:
        mend = "the role needs the rights that `python -m eventstore migrate` gives"
        yield fail("postgres", str(error).strip(), mend)


def _version(number: int) -> Iterator[Finding]:
    if number < OLDEST:
        yield fail("postgres_version", f"{number // 10_000} is too old", f"use Postgres {OLDEST // 10_000} or newer")


def _settings(connection: psycopg.Connection) -> Iterator[Finding]:
    given: Mapping[str, str] = dict(connection.execute(_ASK, [list(_SETTINGS)]).fetchall())
    yield from judged(given)
    [(used,)] = connection.execute(_CONNECTED).fetchall()
    room = int(given["max_connections"])
    if used > 0.8 * room:
        yield warn("postgres_connections", f"{used} of {room} are taken", "raise max_connections, or use a pooler")


def judged(given: Mapping[str, str]) -> Iterator[Finding]:
    """Judge the server's settings: what was acknowledged must outlive a crash."""
    if given["fsync"] != "on":
        yield fail("postgres_fsync", "fsync is off: a crash of the machine loses the log", "set fsync = on")
    if given["full_page_writes"] != "on":
        mend = "set full_page_writes = on, unless the file system writes pages whole"
        yield warn("postgres_full_page_writes", "full_page_writes is off: a crash may tear pages", mend)
    if given["synchronous_commit"] == "off":
        why = "synchronous_commit is off: a crash loses what was acknowledged, and the log gets another name"
        yield fail("postgres_synchronous_commit", why, "set synchronous_commit = on")
    if given["fsync"] == "on" and given["synchronous_commit"] != "off":
        yield ok("postgres_durable", f"synchronous_commit = {given['synchronous_commit']}")


def _clock(connection: psycopg.Connection, wall: Callable[[], float]) -> Finding:
    began = wall()
    [(theirs,)] = connection.execute(_TIME).fetchall()
    ahead = skew(began, wall(), theirs)
    if ahead is None:
        return warn("postgres_clock", "the database took too long to say what time it is", "look at its load")
    if abs(ahead) >= SKEWED:
        where = "ahead of" if ahead > 0 else "behind"
        mend = "let NTP set both clocks"
        return warn("postgres_clock", f"this server is {abs(ahead) / 1000:.0f} s {where} the database", mend)
    return ok("postgres_clock", "this server's is within seconds of the database's")


def _log(connection: psycopg.Connection) -> Iterator[Finding]:
    try:
        row = connection.execute(_STATE).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        row = None
    if row is None:
        yield fail("postgres_log", "there is no log in this database", "run: python -m eventstore migrate --dsn DSN")
        return
    index, level, floor, size, standby = row
    kept = f"events {floor + 1} to {index} at level {level}, {size / (1 << 20):.0f} MiB in all"
    if standby:
        yield fail("postgres_log", f"this is a standby ({kept})", "name the primary, or all hosts, in the DSN")
    else:
        yield ok("postgres_log", kept)
