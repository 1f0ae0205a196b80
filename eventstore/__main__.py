"""`python -m eventstore`: what is done to a database beside the running processes.

`migrate` brings it to this release, as the owner of the schema. `verify` proves that nobody has changed, removed, moved
or added an event, or changed a snapshot (`eventstore.audit`). `export` writes what is full of the log into a folder, as
described in `eventstore.export`. `snapshot` makes the snapshots that are due; the coordinator begins it
(`eventstore.maker`). `reset-password` gives a user another password (`eventstore.reset`).
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import psycopg
import structlog
from msgspec import Struct

from eventstore import audit, maker
from eventstore.database import Database
from eventstore.export import Damaged, export
from eventstore.log import Compacted, LogUnavailable, OtherHistory
from eventstore.migrate import migrate
from eventstore.reset import reset
from heroctl.domain.errors import Refusal
from heroctl.domain.settings import Ended, begin, describe, usage

PROGRAM: Final = "python -m eventstore migrate|verify|export|snapshot|reset-password"


_COMMANDS: Final = ("migrate", "verify", "export", "snapshot", "reset-password")


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that these commands can be told."""

    dsn: Annotated[str, describe("the Postgres database, not through a pooler", secret=True)]
    application_role: Annotated[str, describe("migrate: the role that the processes connect as, if not the owner")] = ""
    user: Annotated[str, describe("reset-password: whose")] = "admin"
    password_stdin: Annotated[
        bool, describe("reset-password: read the password from stdin; without it one is made and shown once")
    ] = False
    audit_dir: Annotated[str, describe("export: the folder of the audit exports; it must be there")] = ""


def main(argv: list[str]) -> int:
    """Run a command; the exit code is 2 for settings that cannot be used."""
    command, rest = (argv[0], argv[1:]) if argv else ("", [])
    if command not in _COMMANDS:
        sys.stdout.write(usage(Settings, PROGRAM))
        return 0 if command in {"-h", "--help"} else 2
    if command == "verify":
        return audit.main(rest)
    settings = begin(
        Settings, rest, os.environ, lambda name: Path(name).read_text(), program=PROGRAM, section="eventstore"
    )
    if isinstance(settings, Ended):
        sys.stdout.write(settings.out)
        sys.stderr.write(settings.err)
        return settings.code
    if command == "snapshot":
        return maker.run(settings.dsn)
    if command == "reset-password":
        return _reset(settings)
    if command == "export":
        return asyncio.run(_export(settings))
    return _migrate(settings)


def _migrate(settings: Settings) -> int:
    try:
        left = migrate(settings.dsn, application=settings.application_role)
    except (LogUnavailable, psycopg.Error) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if left:
        sys.stderr.write("let an administrator of the server run, unless no pooler is used:\n")
        sys.stderr.writelines(f"{statement}\n" for statement in left)
    return 0


def _reset(settings: Settings) -> int:
    try:
        with _logging_to_stderr():
            password = asyncio.run(reset(settings.dsn, settings.user, _given if settings.password_stdin else str))
    except (Refusal, LogUnavailable, psycopg.Error) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if not settings.password_stdin:
        sys.stdout.write(f"{password}\n")
    said = "" if settings.password_stdin else "; it is shown this once"
    sys.stderr.write(f"user {settings.user} has a new password{said}. All of its logins are over\n")
    return 0


@contextlib.contextmanager
def _logging_to_stderr() -> Iterator[None]:
    """Keep standard output for what was asked for."""
    before = structlog.get_config()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        yield
    finally:
        structlog.configure(**before)


def _given() -> str:
    if sys.stdin.isatty():
        return getpass.getpass("New password: ")
    return sys.stdin.readline().rstrip("\r\n")


async def _export(settings: Settings) -> int:
    if not settings.audit_dir:
        sys.stderr.write("--audit-dir: is needed\n")
        return 2
    try:
        async with Database(settings.dsn, connections=1) as database:
            async for entry in export(database, Path(settings.audit_dir)):
                sys.stdout.write(f"{entry.file}: events {entry.first} to {entry.last}, {entry.bytes} bytes\n")
                sys.stdout.flush()
    except (OSError, Damaged, OtherHistory, Compacted, LogUnavailable) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
