"""Audit exports: whole files or none, proven when they are written and whenever somebody asks."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from eventstore import export as exporting
from eventstore.__main__ import main
from eventstore.export import MANIFEST, Damaged, Entry, Exports, check, export
from eventstore.log import OtherHistory, Position
from eventstore.postgres import PostgresLog
from tests.eventstore.small import SIZE, drop, dropping, grow, small_log


@pytest.fixture
async def log(postgres_dsn: str) -> AsyncIterator[PostgresLog]:
    """A log with three full partitions and more."""
    async with small_log(postgres_dsn, fill=3 * SIZE + 10) as made:
        yield made


def names(folder: Path, pattern: str = "*") -> list[str]:
    return sorted(each.name for each in folder.glob(pattern))


async def exported(log: PostgresLog, folder: Path) -> list[Entry]:
    return [entry async for entry in export(log.database, folder)]


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]


async def test_a_file_for_each_full_partition(log: PostgresLog, tmp_path: Path) -> None:
    """Each begins where the one before ended, at the ends of appends; together they are the log."""
    entries = await exported(log, tmp_path)
    ends = [each.end for each in await dropping(log).listed() if each.end is not None]
    assert [entry.end for entry in entries] == ends
    assert [entry.first for entry in entries] == [1, *(end.index + 1 for end in ends[:-1])]
    assert [entry.file for entry in entries] == [f"events-{one.first}-{one.last}.ndjson.gz" for one in entries]
    assert names(tmp_path) == sorted([MANIFEST, *(entry.file for entry in entries)])
    for entry in entries:
        header, *events = lines(tmp_path / entry.file)
        assert header["format"] == "heroctl-events-1"
        assert (header["first"], header["last"], header["before"]) == (entry.first, entry.last, entry.before)
        assert [event["index"] for event in events] == list(range(entry.first, entry.last + 1))
        assert all(("chain" in event) == (event["index"] == event["last"]) for event in events)
        assert check(tmp_path / entry.file)[1] == entry.end
        assert Exports(tmp_path).sound(entry.end)
    head = await log.head()
    cluster = lines(tmp_path / entries[0].file)[1]["data"]["cluster"]
    assert {(entry.cluster, entry.incarnation) for entry in entries} == {(cluster, head.incarnation)}


async def test_an_event_says_who_what_and_when(log: PostgresLog, tmp_path: Path) -> None:
    await exported(log, tmp_path)
    event = next(each for each in lines(tmp_path / Exports(tmp_path).entries()[1].file)[1:])
    assert event["tag"] == "job.stopped"
    assert event["meta"] == {"actor": "tester", "request_id": "req_1"}
    assert event["data"]["namespace"] == "default"
    assert event["time"] > 0


async def test_it_can_be_proven_with_nothing_of_ours(log: PostgresLog, tmp_path: Path) -> None:
    """As the page says, with a hash function and a JSON reader alone."""
    for entry in await exported(log, tmp_path):
        header, *events = gzip.decompress((tmp_path / entry.file).read_bytes()).splitlines()
        chain, said = bytes.fromhex(json.loads(header)["before"]), b""
        first = 0
        for line in events:
            event = json.loads(line)
            meta, data = (_raw(line, name) for name in (b"meta", b"data"))
            if not said:
                first, said = event["index"], struct.pack("!i", len(meta)) + meta
            tag = event["tag"].encode()
            said += struct.pack("!i", len(tag)) + tag + struct.pack("!ii", event["schema"], len(data)) + data
            if event["index"] == event["last"]:
                place = struct.pack("!qqq", first, event["last"], event["time"])
                chain, said = hashlib.sha256(chain + place + hashlib.sha256(said).digest()).digest(), b""
                assert chain.hex() == event["chain"]
        assert chain.hex() == entry.chain


def _raw(line: bytes, name: bytes) -> bytes:
    """Cut an object out of a line as it stands there. Those of the samples hold no braces in texts."""
    begin = line.index(b'"' + name + b'":') + len(name) + 3
    depth = 0
    for at in range(begin, len(line)):
        depth += {ord("{"): 1, ord("}"): -1}.get(line[at], 0)
        if depth == 0:
            return line[begin : at + 1]
    raise AssertionError(line)


async def test_again_it_has_nothing_to_do_but_what_is_new(log: PostgresLog, tmp_path: Path) -> None:
    before = await exported(log, tmp_path)
    assert await exported(log, tmp_path) == []
    await grow(log, 5 * SIZE)
    after = await exported(log, tmp_path)
    assert [entry.first for entry in after] == [before[-1].last + 1, after[0].last + 1]
    assert Exports(tmp_path).entries() == before + after


async def test_begins_at_the_floor_in_an_empty_folder(log: PostgresLog, tmp_path: Path) -> None:
    await grow(log, 5 * SIZE)
    [gone] = await drop(log)
    [first, *_] = await exported(log, tmp_path)
    assert gone.end is not None
    assert (first.first, first.before) == (gone.end.index + 1, gone.end.chain.hex())
    assert check(tmp_path / first.file)[1] == first.end


async def test_what_is_written_is_its_owners_alone(log: PostgresLog, tmp_path: Path) -> None:
    """Whatever the process's umask; but a mode that somebody gave stays."""
    before = os.umask(0)
    try:
        entries = await exported(log, tmp_path)
        assert {_mode(tmp_path / name) for name in (MANIFEST, *(entry.file for entry in entries))} == {0o600}
        (tmp_path / MANIFEST).chmod(0o640)
        await grow(log, 5 * SIZE)
        await exported(log, tmp_path)
    finally:
        os.umask(before)
    assert _mode(tmp_path / MANIFEST) == 0o640


def _mode(place: Path) -> int:
    return place.stat().st_mode & 0o777


async def test_what_stands_there_is_not_overwritten(log: PostgresLog, tmp_path: Path) -> None:
    """A file of another history by the same name stays; so does what nobody can read."""
    entries = await exported(log, tmp_path)
    (tmp_path / MANIFEST).unlink()
    (tmp_path / entries[0].file).write_bytes(b"something of somebody's")
    again = await exported(log, tmp_path)
    assert (tmp_path / entries[0].file).read_bytes() == b"something of somebody's"
    assert again[0].file == entries[0].file.replace(".ndjson", f"-{entries[0].chain[:12]}.ndjson")
    assert [entry.file for entry in again[1:]] == [entry.file for entry in entries[1:]]
    assert Exports(tmp_path).places() == {entry.end for entry in entries}


@pytest.mark.parametrize("harm", ["flipped", "cut", "gone"])
async def test_harm_is_found(log: PostgresLog, tmp_path: Path, harm: str) -> None:
    entry = (await exported(log, tmp_path))[0]
    file = tmp_path / entry.file
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(content if harm == "flipped" else content[:-9])
        with pytest.raises(Damaged):
            check(file)
    exports = Exports(tmp_path)
    assert not exports.sound(entry.end)
    assert (entry.end in exports.places()) == (harm == "flipped"), "sizes are looked at each time, bytes before a drop"
    if harm == "flipped":
        exports.set_aside(entry.end)
    assert [each.end for each in await exported(log, tmp_path)] == [entry.end]
    assert exports.sound(entry.end)


async def test_a_changed_event_is_not_exported_as_if_it_were_true(log: PostgresLog, tmp_path: Path) -> None:
    await log.database.fetch("UPDATE heroctl.events SET data = '{}' WHERE index = 70")
    with pytest.raises(OtherHistory):
        await exported(log, tmp_path)
    assert [entry.first for entry in Exports(tmp_path).entries()] == [1]
    assert not names(tmp_path, ".export-*")


@pytest.mark.parametrize("at", ["write", "fsync", "rename", "list"])
async def test_a_full_disk_loses_nothing(
    log: PostgresLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Wherever it strikes, nothing half stands there by a file's name, and the next attempt succeeds."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        if at == "write":
            broken.setattr(exporting, "_line", full)
        elif at == "fsync":
            broken.setattr(os, "fsync", full)
        elif at == "rename":
            broken.setattr(Path, "rename", full)
        else:
            broken.setattr(Exports, "_list", full)
        with pytest.raises(OSError, match="No space left"):
            await exported(log, tmp_path)
    assert Exports(tmp_path).entries() == []
    assert not names(tmp_path, ".export-*")
    assert len(await exported(log, tmp_path)) == 3
    assert all(check(tmp_path / entry.file)[1] == entry.end for entry in Exports(tmp_path).entries())


async def test_a_torn_line_of_the_manifest_costs_only_itself(log: PostgresLog, tmp_path: Path) -> None:
    entries = await exported(log, tmp_path)
    manifest = tmp_path / MANIFEST
    manifest.write_bytes(manifest.read_bytes()[:-20])
    assert Exports(tmp_path).entries() == entries[:-1]
    [again] = await exported(log, tmp_path)
    assert (again.file, again.sha256) == (entries[-1].file, entries[-1].sha256), "the same bytes every time"
    assert [each.end for each in Exports(tmp_path).entries()] == [each.end for each in entries]


async def test_lines_that_nobody_of_ours_wrote_are_passed_over(log: PostgresLog, tmp_path: Path) -> None:
    entries = await exported(log, tmp_path)
    manifest = tmp_path / MANIFEST
    good = json.loads(manifest.read_text().splitlines()[0])
    for strange in ("", "{}", "no json", json.dumps(good | {"chain": "xyz"}), json.dumps(good | {"file": "../passwd"})):
        manifest.write_text(manifest.read_text() + f"{strange}\n")
    assert Exports(tmp_path).entries() == entries
    assert Exports(tmp_path).places(entries[0].last) == {entry.end for entry in entries[1:]}


def test_what_a_death_left_is_swept_a_day_later(tmp_path: Path) -> None:
    old, new = tmp_path / ".export-old.part", tmp_path / ".export-new.part"
    for part in (old, new):
        part.touch()
    os.utime(old, (0, 0))
    header = exporting.Header("heroctl-events-1", "", "", 1, 1, "")
    with Exports(tmp_path).draft(header):
        assert (old.exists(), new.exists()) == (False, True)
    assert [each.name for each in tmp_path.iterdir()] == [new.name]


def test_a_missing_folder_is_not_made(tmp_path: Path) -> None:
    """It is a disk that is not mounted."""
    with pytest.raises(FileNotFoundError):
        Exports(tmp_path / "audit").entries()


async def test_the_chain_is_part_of_what_stands(log: PostgresLog, tmp_path: Path) -> None:
    entry = (await exported(log, tmp_path))[0]
    assert not Exports(tmp_path).sound(Position(entry.last, bytes(32)))


def test_command(postgres_dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "--dsn", postgres_dsn]) == 0
    assert main(["export", "--dsn", postgres_dsn]) == 2
    assert main(["export", "--dsn", postgres_dsn, "--audit-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out == ""
    assert main(["export", "--dsn", postgres_dsn, "--audit-dir", str(tmp_path / "none")]) == 1
    assert "none" in capsys.readouterr().err
