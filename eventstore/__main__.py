"""`python -m eventstore`: what is done to a database beside the running processes.

`migrate` brings it to this release, as the owner of the schema. `verify` proves that nobody has changed, removed, moved
or added an event (`eventstore.audit`). `export` writes what is full of the log into a folder, as described in
`eventstore.export`. `snapshot` makes the snapshots that are due; the coordinator begins it (`eventstore.maker`).
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated, Final

import psycopg
from msgspec import Struct

from eventstore import audit, maker
from eventstore.database import Database
from eventstore.export import Damaged, export
from eventstore.log import Compacted, LogUnavailable, OtherHistory
from eventstore.migrate import migrate
from heroctl.domain.settings import Ended, begin, describe, usage

PROGRAM: Final = "python -m eventstore migrate|verify|export|snapshot"


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that these commands can be told."""

    dsn: Annotated[str, describe("the Postgres database, not through a pooler", secret=True)]
    application_role: Annotated[str, describe("migrate: the role that the processes connect as, if not the owner")] = ""
    audit_dir: Annotated[str, describe("export: the folder of the audit exports; it must be there")] = ""


def main(argv: list[str]) -> int:
    """Run a command; the exit code is 2 for settings that cannot be used."""
    command, rest = (argv[0], argv[1:]) if argv else ("", [])
    if command not in {"migrate", "verify", "export", "snapshot"}:
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
