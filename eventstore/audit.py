"""Proofs of a log in Postgres, of audit exports, and of the one against the other: `python -m eventstore verify`.

It prints JSON, a line for each step and the verdict last; the exit code is 0 where all is as it must be, 1 where it is
not, 3 where that could not be found out.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import sys
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final, cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from eventstore import export
from eventstore.database import Database
from eventstore.log import LogUnavailable, Position, Row
from eventstore.postgres import PostgresLog
from eventstore.shelf import PostgresShelf
from eventstore.snapshots import Snapshots
from eventstore.states import states
from eventstore.verify import Check, Ends, Fault, Found, Line, Progress, Verdict, prove, verdict
from heroctl.domain.settings import Ended, SettingsError, begin, describe

PROGRAM: Final = "python -m eventstore verify"
PAGE: Final = 5_000
# Both ends in one statement, so that an append between two looks is no fault.
_ENDS: Final = """
    SELECT f.index, f.chain, h.index, h.chain, h.time, h.incarnation,
        (SELECT coalesce(max(e.index), 0) FROM heroctl.events e),
        (SELECT coalesce(max(s.last), 0) FROM heroctl.streams s)
    FROM heroctl.head h, heroctl.floor f"""
_ROWS: Final = """
    SELECT index, last, time, tag, schema, meta, data, chain FROM heroctl.events
    WHERE index > %b AND index <= %b ORDER BY index LIMIT %b"""
_SNAPSHOTS: Final = "SELECT index, chain FROM heroctl.snapshots WHERE verified AND refused = '' ORDER BY index"
_WORDS: Final = ("index", "append", "time", "tag", "schema", "author", "data", "hash")


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that `verify` can be told."""

    dsn: Annotated[str, describe("the Postgres database; none: only the exports are checked", secret=True)] = ""
    against: Annotated[
        tuple[str, ...], describe("an export, or the folder of the audit exports, to compare with; may be repeated")
    ] = ()

    def __post_init__(self) -> None:
        """Refuse what leaves nothing to be checked."""
        if not self.dsn and not self.against:
            raise SettingsError(["give --dsn, --against, or both"])


class Broken(Struct, frozen=True, tag_field="line", tag="broken"):
    """The last line of a check that could not be finished: there is no verdict."""

    error: str
    message: str


class PostgresSource:
    """A log's tables; `exports` are manifest lines that its chain must pass through, too."""

    def __init__(self, database: Database, exports: Sequence[export.Entry] = ()) -> None:
        self._database = database
        self._exports = exports

    async def ends(self) -> Ends:
        """See Source.ends."""
        snapshots = await self._database.fetch(_SNAPSHOTS)
        [row] = await self._database.fetch(_ENDS)
        begin, before, index, chain, time, incarnation, newest, moved = row
        marks = {at: (bytes(hashed), f"the snapshot at {at}") for at, hashed in snapshots}
        marks |= {each.last: (each.end.chain, each.file) for each in self._exports}
        floor, head = Position(begin, bytes(before)), Position(index, bytes(chain))
        return Ends(floor, head, time, incarnation, newest, moved, marks)

    async def rows(self, after: int, to: int) -> list[Row]:
        """See Source.rows."""
        return cast("list[Row]", await self._database.fetch(_ROWS, [after, to, PAGE]))


def main(argv: list[str]) -> int:
    """Check, and print what comes of it."""
    settings = begin(
        Settings, argv, os.environ, lambda name: Path(name).read_text(), program=PROGRAM, section="eventstore"
    )
    if isinstance(settings, Ended):
        sys.stdout.write(settings.out)
        sys.stderr.write(settings.err)
        return settings.code
    return asyncio.run(_print(settings))


async def _print(settings: Settings) -> int:
    os.nice(10)  # it is never urgent, and whoever serves beside it is
    line: Line | Broken | None = None
    async for line in lines(settings.dsn, [Path(name) for name in settings.against]):
        sys.stdout.write(f"{msgspec.json.encode(line).decode()}\n")
        sys.stdout.flush()
    return (0 if line.ok else 1) if isinstance(line, Verdict) else 3


async def lines(dsn: str, against: Sequence[Path]) -> AsyncIterator[Line | Broken]:
    """Check a log, exports, or both against each other; without `dsn` the exports alone.

    The last line is the verdict, on the first fault if there are several checks, or says why there is none.
    """
    last: Verdict | Broken | None = None
    async for line in _all(dsn, against):
        if isinstance(line, Verdict | Broken):
            last = line if last is None or isinstance(line, Broken) or (isinstance(last, Verdict) and last.ok) else last
        else:
            yield line
    yield last or Broken("nothing", "there is nothing to be checked")


async def _all(dsn: str, against: Sequence[Path]) -> AsyncIterator[Line | Broken]:
    try:
        files, manifest = _sorted(against)
        if not dsn:
            for path in files:
                for line in of_file(path):
                    yield line
            return
        async with Database(dsn, connections=1) as database:
            source = PostgresSource(database, manifest)
            for path in files:
                async for line in compared(source, path):
                    yield line
            async for line in prove(source):
                yield line
            if isinstance(line, Verdict) and line.ok:
                async for each in _states(database, line):
                    yield each
    except LogUnavailable as error:
        yield Broken("log_unavailable", str(error))
    except OSError as error:
        yield Broken("unreadable", str(error))


async def _states(database: Database, sound: Verdict) -> AsyncIterator[Line]:
    """Check the snapshots of a log that is sound; says nothing where they are, too."""
    log = PostgresLog(database)
    async for fault in states(log, Snapshots(PostgresShelf(database), log)):
        yield _found(fault)
        yield replace(
            sound, ok=False, index=fault.index, last=fault.last, code=fault.code, problem=fault.problem, faults=1
        )


def _sorted(against: Sequence[Path]) -> tuple[list[Path], list[export.Entry]]:
    """Tell files of events from folders, or their manifests, of which the places alone are compared."""
    files: list[Path] = []
    entries: list[export.Entry] = []
    for path in against:
        folder = path if path.is_dir() else path.parent if path.name == export.MANIFEST else None
        if folder is None:
            files.append(path)
            continue
        found = export.Exports(folder).entries()
        if not found:
            raise FileNotFoundError(f"{path}: there is no export")
        entries += found
    return files, entries


# ── exports ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Unread(Exception):  # noqa: N818 - a finding
    """From here on a file cannot be read."""


def rows_of(path: Path) -> Iterator[export.Header | Row]:
    """Read an export's header, and then its events. Raises Unread where it goes on and cannot be read."""
    try:
        with gzip.open(path, "rb") as file:
            yield export.header_of(file.readline())
            for line in file:
                yield export.row_of(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Unread(str(error)) from error


def of_file(path: Path) -> Iterator[Line]:
    """Check an export by itself: it must be whole, and its chain lead from its header to its last line."""
    check, header, read = Check(Position()), None, 0
    try:
        for each in rows_of(path):
            if isinstance(each, export.Header):
                header = each
                check = Check(Position(header.first - 1, bytes.fromhex(header.before)))
                yield Progress(header.first - 1, header.last, 0)
                continue
            read = each[0]
            yield from map(_found, check.take([each]))
    except Unread as error:
        yield _found(check.fault(read + 1, read + 1, "unreadable", f"{path.name}: after event {read}: {error}"))
    first, last = (header.first, header.last) if header else (1, 0)
    if not check.faults:
        yield from map(_found, check.finish(last, check.end.chain, 0, "the header"))
    yield verdict(check, first, last, header.incarnation if header else "")


async def compared(source: PostgresSource, path: Path) -> AsyncIterator[Line]:
    """Compare an export with the log, event by event; ends without a verdict of its own unless they differ."""
    ends = await source.ends()
    log: dict[int, Row] = {}
    after, differing, check = 0, 0, Check(Position())
    try:
        for each in rows_of(path):
            if isinstance(each, export.Header):
                after, check = max(each.first - 1, ends.floor.index), Check(Position(each.last, b""))
                yield Progress(after, each.last, 0)
                continue
            if each[0] <= ends.floor.index:
                continue
            if each[0] not in log:
                log = {row[0]: row for row in await source.rows(each[0] - 1, each[0] + PAGE)}
            if fault := differs(each, log.get(each[0]), ends.head.index, path.name):
                differing += 1
                yield _found(check.fault(*fault))
                if fault[2] == "cut":
                    break
    except Unread as error:
        yield _found(check.fault(after + 1, after + 1, "unreadable", f"{path.name}: {error}"))
    if check.faults:
        yield verdict(check, ends.floor.index + 1, ends.head.index, ends.incarnation)


def differs(kept: Row, row: Row | None, head: int, file: str) -> tuple[int, int, str, str] | None:
    """Say how an event of the log differs from what was exported of it; None: it does not."""
    index = kept[0]
    if index > head:
        return index, index, "cut", f"the log ends at {head}, and {file} goes on to {index} at least: its tail was cut"
    if row is None:
        return index, index, "missing", f"event {index} is missing; {file} has it"
    words = [word for word, mine, theirs in zip(_WORDS, row, kept, strict=True) if mine != theirs]
    return (index, index, "changed", f"event {index}: not its {', '.join(words)} of {file}") if words else None


def _found(fault: Fault) -> Found:
    return Found(fault.index, fault.last, fault.code, fault.problem)
