"""Audit exports: every full partition of the log as a file that can be kept for ever and proven without a database.

`events-<first>-<last>.ndjson.gz` holds whole appends, all events of them and not only those that an auditor asks for:
only so can the chain be followed from file to file. Its first line is a header, each other line is one event:

    {"format":"heroctl-events-1","cluster":"…","incarnation":"…","first":1,"last":1000004,"before":"<hex>"}
    {"index":1,"last":3,"time":1767225600000,"tag":"…","schema":1,"meta":{"actor":"…","request_id":"…"},"data":{…}}
    {"index":3,"last":3,…,"chain":"<hex>"}

`before` is the chain at index first - 1. An append's last event has `chain`, which is the SHA-256 of: the chain before;
the indexes of its first and last event and `time` (ms), 8 bytes each; and the append's digest. That is the SHA-256 of:
the length of `meta` (4 bytes) and its bytes as they stand in the line; then, for each event, the length of `tag` (4),
`tag`, `schema` (4), the length of `data` (4) and the bytes of `data` as they stand. Numbers are big-endian. Secret
values are never in events.

`exports.ndjson` beside the files has a line for each: what the header says, and `file`, `chain` (the log's at `last`),
`events`, `bytes`, `sha256` and `at`. Its last line is the last export: a log that has lost its end before `last`, or
has another chain there, is not the log that was exported.

A file is written under another name, brought to the disk, read back from there and its chain followed, renamed, and
only then listed. Nothing that stands there already is overwritten, unless it holds the same.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import hashlib
import os
import tempfile
import time
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Raw, Struct

from eventstore import codec
from eventstore.database import Database
from eventstore.log import Compacted, Log, OtherHistory, Position, Row
from eventstore.partitions import Partitions
from eventstore.postgres import PostgresLog
from heroctl.domain.events import ClusterCreated

FORMAT: Final = "heroctl-events-1"
MANIFEST: Final = "exports.ndjson"
_PART: Final = (".export-", ".part")
_STALE: Final = 86_400.0  # seconds after which an unfinished file is nobody's any more
_ROWS: Final = 2_000  # read back at a time
_MARK: Final = b'{"format":'


class Damaged(Exception):  # noqa: N818 - a finding
    """A file is not what an export must be."""


class Header(Struct, frozen=True):
    """The first line of a file."""

    format: str
    cluster: str
    incarnation: str
    first: int
    last: int
    before: str  # hex


class Entry(Struct, frozen=True, kw_only=True):
    """A line of the manifest: a file that is whole."""

    file: str
    first: int
    last: int
    before: str
    chain: str
    events: int
    bytes: int
    sha256: str
    cluster: str
    incarnation: str
    at: str

    def __post_init__(self) -> None:
        """Take no hash that is none, and no file that lies elsewhere."""
        bytes.fromhex(self.chain)
        if Path(self.file).name != self.file:
            raise ValueError(f"no name of a file: {self.file}")

    @property
    def end(self) -> Position:
        """The place in the log that it reaches."""
        return Position(self.last, bytes.fromhex(self.chain))


class _Line(Struct, omit_defaults=True, gc=False):
    index: int
    last: int
    time: int
    tag: str
    schema: int
    meta: Raw
    data: Raw
    chain: str = ""


_encode: Final = msgspec.json.Encoder().encode
header_of: Final = msgspec.json.Decoder(Header).decode
_line_of: Final = msgspec.json.Decoder(_Line).decode
_entry_of: Final = msgspec.json.Decoder(Entry).decode


class Exports:
    """A folder of exports, which must be there: a missing one is a disk that is not mounted. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def entries(self) -> list[Entry]:
        """Give the manifest's lines, oldest first. What a death cut off is passed over."""
        try:
            lines = (self.folder / MANIFEST).read_bytes().splitlines()
        except FileNotFoundError:
            self.folder.stat()
            return []
        entries = []
        for line in lines:
            with contextlib.suppress(msgspec.MsgspecError):
                entries.append(_entry_of(line))
        return entries

    def places(self, after: int = 0) -> frozenset[Position]:
        """Give where the files end that stand there, judged by their sizes; of those that end after an index."""
        return frozenset(entry.end for entry in self.entries() if entry.last > after and self._stands(entry))

    def sound(self, end: Position) -> bool:
        """Tell whether the file that ends there is byte for byte what was written."""
        entry = self._find(end)
        if entry is None or not self._stands(entry):
            return False
        with (self.folder / entry.file).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256

    def set_aside(self, end: Position) -> None:
        """Give the file that ends there another name, so that the events are exported anew."""
        entry = self._find(end)
        if entry is not None:
            place = self.folder / entry.file
            place.rename(place.with_name(f"{place.name}.damaged"))

    def _find(self, end: Position) -> Entry | None:
        return next((each for each in reversed(self.entries()) if each.end == end), None)

    def _stands(self, entry: Entry) -> bool:
        try:
            return (self.folder / entry.file).stat().st_size == entry.bytes
        except FileNotFoundError:
            return False

    @contextlib.contextmanager
    def draft(self, header: Header) -> Iterator[Draft]:
        """Begin a file; what is not finished when the block ends is gone."""
        self._sweep()
        descriptor, name = tempfile.mkstemp(dir=self.folder, prefix=_PART[0], suffix=_PART[1])
        draft = Draft(self, header, descriptor, Path(name))
        try:
            yield draft
        finally:
            draft.discard()

    def keep(self, part: Path, header: Header, end: Position) -> Entry:
        """Prove a file that is whole and on the disk, give it its name and list it. Raises OSError or Damaged."""
        if (found := check(part)) != (header, end):
            raise Damaged(f"read back, the file holds {found}")
        entry = self._entry(part, header, end)
        part.rename(self.folder / entry.file)
        self._sync()
        self._list(entry)
        return entry

    def _entry(self, part: Path, header: Header, end: Position) -> Entry:
        with part.open("rb") as raw:
            digest = hashlib.file_digest(raw, "sha256").hexdigest()
        return Entry(
            file=self._name(header, end),
            first=header.first,
            last=header.last,
            before=header.before,
            chain=end.chain.hex(),
            events=header.last - header.first + 1,
            bytes=part.stat().st_size,
            sha256=digest,
            cluster=header.cluster,
            incarnation=header.incarnation,
            at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        )

    def _name(self, header: Header, end: Position) -> str:
        """Name the file; what stands there already and is no export of the same is left alone."""
        name = f"events-{header.first}-{header.last}"
        place = self.folder / f"{name}.ndjson.gz"
        try:
            free = not place.exists() or check(place)[1] == end
        except Damaged:
            free = False
        return place.name if free else f"{name}-{end.chain.hex()[:12]}.ndjson.gz"

    def _list(self, entry: Entry) -> None:
        place = self.folder / MANIFEST
        # Nobody else's to read or change, as the files; whoever gave an older one another mode meant it.
        descriptor = os.open(place, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "ab+") as manifest:
            size = manifest.seek(0, os.SEEK_END)
            manifest.seek(max(size - 1, 0))
            torn = size > 0 and manifest.read(1) != b"\n"
            manifest.write((b"\n" if torn else b"") + _encode(entry) + b"\n")
            manifest.flush()
            os.fsync(manifest.fileno())
        self._sync()

    def _sync(self) -> None:
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _sweep(self) -> None:
        for part in self.folder.glob("*".join(_PART)):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - part.stat().st_mtime > _STALE:
                    part.unlink()


class Draft:
    """A file that is being written. Its calls block: exporting has a process of its own."""

    def __init__(self, exports: Exports, header: Header, descriptor: int, part: Path) -> None:
        self._exports = exports
        self._header = header
        self._part = part
        self._raw = os.fdopen(descriptor, "wb")
        self._file = gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=self._raw, mtime=0)
        self._file.write(_encode(header) + b"\n")

    def write(self, rows: list[Row]) -> None:
        """Write events."""
        self._file.write(b"".join(map(_line, rows)))

    def finish(self, end: Position) -> Entry:
        """Bring the file to the disk, and keep it. Raises OSError or Damaged."""
        self._file.close()
        self._raw.flush()
        os.fsync(self._raw.fileno())
        # What is read back comes from the disk then, not from memory.
        os.posix_fadvise(self._raw.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        self._raw.close()
        return self._exports.keep(self._part, self._header, end)

    def discard(self) -> None:
        """Forget what was not kept. A full disk may refuse even the closing."""
        for file in (self._file, self._raw):
            with contextlib.suppress(OSError, ValueError):
                file.close()
        self._part.unlink(missing_ok=True)


def _line(row: Row) -> bytes:
    index, last, at, tag, schema, meta, data, chain = row
    return _encode(_Line(index, last, at, tag, schema, Raw(meta), Raw(data), (chain or b"").hex())) + b"\n"


def row_of(line: bytes) -> Row:
    """Read a line of events. Raises MsgspecError or ValueError."""
    each = _line_of(line)
    chain = bytes.fromhex(each.chain) or None
    return each.index, each.last, each.time, each.tag, each.schema, bytes(each.meta), bytes(each.data), chain


def check(path: Path) -> tuple[Header, Position]:
    """Read a file to its end and follow its chain; return its header and the place it reaches. Raises Damaged."""
    try:
        with gzip.open(path, "rb") as file:
            header = header_of(file.readline())
            if header.format != FORMAT:
                raise Damaged(f"{path.name}: {header.format} is another format")
            position = Position(header.first - 1, bytes.fromhex(header.before))
            for rows in _appends(file):
                position = codec.verify(rows, position)
    except (OtherHistory, msgspec.MsgspecError, ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Damaged(f"{path.name}: {error}") from error
    if position.index != header.last:
        raise Damaged(f"{path.name}: it ends at {position.index}, not at {header.last}")
    return header, position


def _appends(file: Iterable[bytes]) -> Iterator[list[Row]]:
    """Give lists of whole appends; what is left over in the end is no whole one, and will be found so."""
    rows: list[Row] = []
    for row in map(row_of, file):
        rows.append(row)
        if row[0] == row[1] and len(rows) >= _ROWS:
            yield rows
            rows = []
    if rows:
        yield rows


async def export(database: Database, folder: Path) -> AsyncIterator[Entry]:
    """Export every full partition that is not there yet, oldest first; give each when it is listed.

    Raises LogUnavailable, OtherHistory, Damaged or OSError; what was given stands all the same.
    """
    exports, log = Exports(folder), PostgresLog(database)
    partitions = Partitions(database, database)
    begin, listed = await partitions.floor(), await partitions.listed()
    standing = exports.places(begin.index)
    for end in (each.end for each in listed):
        if end is None:
            return
        if end not in standing and end != begin:
            incarnation = (await log.head()).incarnation
            cluster = await _cluster(log, exports)
            header = Header(FORMAT, cluster, incarnation, begin.index + 1, end.index, begin.chain.hex())
            with exports.draft(header) as draft:
                async for rows in _pages(log, begin, end):
                    draft.write(rows)
                entry = draft.finish(end)
            yield entry
        begin = end


async def _cluster(log: Log, exports: Exports) -> str:
    """Find whose log it is: its first event says so, or, where that has gone, an export from before."""
    if entries := exports.entries():
        return entries[-1].cluster
    try:
        first = next(codec.records(await log.page(0))).event
    except Compacted:
        return ""
    return first.cluster if isinstance(first, ClusterCreated) else ""


async def _pages(log: Log, begin: Position, end: Position) -> AsyncIterator[list[Row]]:
    position = begin
    while position.index < end.index:
        rows = [row for row in await log.page(position.index) if row[0] <= end.index]
        if not rows:
            raise OtherHistory(f"the log ends at {position.index}")
        position = codec.verify(rows, position)
        yield rows
    if position != end:
        raise OtherHistory(f"the chain at {end.index} is another")
