"""Tamper evidence: every way to change history is found, and named by the index where it begins.

The hand that tampers is the owner's of the database, with the append's own code at hand: the strongest there is.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from eventstore import codec
from eventstore.__main__ import main
from eventstore.export import FORMAT, MANIFEST, Entry, Header
from eventstore.log import Append, Log, Position, Row
from eventstore.memory import MemoryLog
from eventstore.verify import Check, Fault
from heroctl.domain.events import Meta
from tests.eventstore.conftest import opened
from tests.eventstore.samples import intent, stopped

APPENDS: Final = 30
MANY: Final = (10, 14)  # an append of five events, amid single ones: 1 is the cluster's own


async def fill(log: Log) -> None:
    """Make a log of APPENDS appends; the events MANY are one."""
    for number in range(2, APPENDS):
        if number == MANY[0]:
            await log.append(intent(*range(5), stream="a"))
        else:
            await log.append(Append((stopped(number),), ("a",), meta=Meta("user:eve", f"req_{number}")))


@pytest.fixture
async def filled(dsn: str) -> str:
    """A database with such a log in it."""
    async with opened(dsn) as log:
        await fill(log)
    return dsn


Judge = Callable[..., dict[str, Any]]


@pytest.fixture
def judge(filled: str, capsys: pytest.CaptureFixture[str]) -> Judge:
    """Run `verify` as an operator does; return its verdict. The exit code must agree."""

    def run(*flags: str) -> dict[str, Any]:
        capsys.readouterr()
        code = main(["verify", "--dsn", filled, *flags])
        said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [line["line"] for line in said].count("verdict") == 1
        verdict = said[-1]
        assert verdict["line"] == "verdict"
        assert code == (0 if verdict["ok"] else 1)
        if not verdict["ok"]:
            found = [line for line in said if line["line"] == "fault"]
            assert min(line["index"] for line in found) == verdict["index"]
            assert verdict["problem"] in [line["problem"] for line in found]
        return dict(verdict)

    return run


def test_a_log_that_nobody_touched_is_sound(judge: Judge) -> None:
    verdict = judge()
    assert verdict["ok"]
    assert (verdict["index"], verdict["events"], verdict["appends"]) == (33, 33, 29)


# ── one thing changed: what, and where it must be found ──────────────────────────────────────────────────────────────

CUT: Final = """DELETE FROM heroctl.events WHERE index > 30; UPDATE heroctl.head
    SET index = 30, (chain, time) = (SELECT chain, time FROM heroctl.events WHERE index = 30)"""
ONE: Final[dict[str, tuple[str, int, str]]] = {
    "data": ("UPDATE heroctl.events SET data = data || ' ' WHERE index = 20", 20, "changed"),
    "a flipped byte": ("UPDATE heroctl.events SET data = set_byte(data, 3, get_byte(data, 3) # 1) WHERE index = 20",
                       20, "changed"),
    "meta": ("UPDATE heroctl.events SET meta = '{}' WHERE index = 20", 20, "changed"),
    "tag": ("UPDATE heroctl.events SET tag = 'job.deleted' WHERE index = 20", 20, "changed"),
    "schema": ("UPDATE heroctl.events SET schema = 2 WHERE index = 20", 20, "changed"),
    "time": ("UPDATE heroctl.events SET time = time + 1 WHERE index = 20", 20, "changed"),
    "hash": ("UPDATE heroctl.events SET chain = sha256('x') WHERE index = 20", 20, "changed"),
    "no hash": ("UPDATE heroctl.events SET chain = NULL WHERE index = 20", 20, "torn"),
    "last": ("UPDATE heroctl.events SET last = 21 WHERE index = 20", 20, "torn"),
    "the first": ("UPDATE heroctl.events SET data = '{}' WHERE index = 1", 1, "changed"),
    "the last": ("UPDATE heroctl.events SET data = '{}' WHERE index = 33", 33, "changed"),
    "removed": ("DELETE FROM heroctl.events WHERE index = 20", 20, "missing"),
    "the first removed": ("DELETE FROM heroctl.events WHERE index = 1", 1, "missing"),
    "the last removed": ("DELETE FROM heroctl.events WHERE index = 33", 33, "cut"),
    "one of many: data": ("UPDATE heroctl.events SET data = '{}' WHERE index = 12", 10, "changed"),
    "one of many: meta": ("UPDATE heroctl.events SET meta = '{}' WHERE index = 12", 12, "torn"),
    "one of many: time": ("UPDATE heroctl.events SET time = time - 1 WHERE index = 14", 14, "torn"),
    "one of many: last": ("UPDATE heroctl.events SET last = 15 WHERE index = 11", 11, "torn"),
    "one of many: hash": ("UPDATE heroctl.events SET chain = sha256('x') WHERE index = 12", 12, "torn"),
    "one of many: removed": ("DELETE FROM heroctl.events WHERE index = 12", 12, "missing"),
    "many removed": ("DELETE FROM heroctl.events WHERE index BETWEEN 10 AND 20", 10, "missing"),
    "swapped": ("""UPDATE heroctl.events e SET data = o.data, meta = o.meta FROM heroctl.events o
                WHERE e.index IN (20, 24) AND o.index = 44 - e.index""", 20, "changed"),
    "swapped within one append": ("""UPDATE heroctl.events e SET data = o.data FROM heroctl.events o
                WHERE e.index IN (11, 13) AND o.index = 24 - e.index""", 10, "changed"),
    "the head's hash": ("UPDATE heroctl.head SET chain = sha256('x')", 33, "head"),
    "the head's time": ("UPDATE heroctl.head SET time = time + 1", 33, "head"),
    "the head set back": ("UPDATE heroctl.head SET index = 30", 30, "head"),
    "the head set on": ("UPDATE heroctl.head SET index = 40", 34, "cut"),
    "a cut tail whose streams were forgotten": (CUT, 31, "cut"),
    "one added behind the head": ("""INSERT INTO heroctl.events SELECT 34, 34, time, tag, schema, meta, data, chain
                FROM heroctl.events WHERE index = 33""", 34, "beyond"),
}  # fmt: skip


@pytest.mark.parametrize("how", ONE)
def test_one_change_is_named_by_its_index(how: str, judge: Judge, admin: psycopg.Connection) -> None:
    statement, index, code = ONE[how]
    admin.execute(statement)
    verdict = judge()
    assert (verdict["ok"], verdict["index"], verdict["code"]) == (False, index, code)
    assert verdict["problem"]


def test_one_change_spoils_one_append_and_the_rest_is_said_to_be_sound(judge: Judge, admin: psycopg.Connection) -> None:
    for statement in ("SET data = '{}' WHERE index = 20", "SET chain = sha256('x') WHERE index = 25"):
        admin.execute(f"UPDATE heroctl.events {statement}")
    verdict = judge()
    assert (verdict["index"], verdict["failed_appends"], verdict["faults"]) == (20, 2, 2)
    assert verdict["sound_after"] == 25


def test_an_event_put_in_between_is_named_and_all_after_it_fails(judge: Judge, admin: psycopg.Connection) -> None:
    """Those after it move up, numbers and all, so that nothing is missing and nothing stands twice."""
    admin.execute("UPDATE heroctl.events SET index = index + 1000, last = last + 1000 WHERE index >= 20")
    admin.execute("UPDATE heroctl.events SET index = index - 999, last = last - 999 WHERE index > 1000")
    admin.execute("""INSERT INTO heroctl.events SELECT 20, 20, time, tag, schema, meta, '{"uid":666}', sha256('x')
        FROM heroctl.events WHERE index = 19""")
    admin.execute("UPDATE heroctl.head SET index = 34")
    verdict = judge()
    assert (verdict["index"], verdict["code"], verdict["failed_appends"]) == (20, "changed", 15)
    assert verdict.get("sound_after") is None


def test_a_change_with_its_hash_made_anew_is_found_by_the_next(judge: Judge, admin: psycopg.Connection) -> None:
    rows = _rows(admin)
    relink(admin, rows, 20, to=20)
    verdict = judge()
    assert (verdict["index"], verdict["code"], verdict["sound_after"]) == (21, "changed", 21)


# ── what only somebody outside can know ──────────────────────────────────────────────────────────────────────────────


def test_a_history_made_anew_from_one_event_on_is_found_by_a_snapshot(judge: Judge, admin: psycopg.Connection) -> None:
    """With every later hash and the head row's: by itself such a log is sound, and that is the control."""
    rows = _rows(admin)
    admin.execute("""INSERT INTO heroctl.snapshots (id, index, chain, incarnation, format, release, time, verified)
        SELECT gen_random_uuid(), index, chain, 'x', 1, '1', time, true FROM heroctl.events WHERE index = 25""")
    assert judge()["marks"] == 1
    relink(admin, rows, 20, to=33)
    verdict = judge()
    assert (verdict["index"], verdict["code"]) == (25, "mark")
    admin.execute("DELETE FROM heroctl.snapshots")
    assert judge()["ok"]


def test_a_history_made_anew_is_found_against_the_last_export(
    judge: Judge, admin: psycopg.Connection, tmp_path: Path
) -> None:
    """The folder's list knows where each file ends; a file itself knows which event it was."""
    rows = _rows(admin)
    file = exported(tmp_path, rows)
    assert judge("--against", str(tmp_path))["marks"] == 1
    assert judge("--against", str(file))["ok"]
    relink(admin, rows, 12, to=33)
    assert judge()["ok"]
    assert judge("--against", str(tmp_path))["index"] == 33
    verdict = judge("--against", str(file))
    assert (verdict["index"], verdict["code"]) == (12, "changed")
    assert "data" in verdict["problem"]


def test_a_cut_tail_is_found_against_the_last_export(judge: Judge, admin: psycopg.Connection, tmp_path: Path) -> None:
    file = exported(tmp_path, _rows(admin))
    admin.execute(f"{CUT}; UPDATE heroctl.streams SET last = least(last, 30)")
    assert judge()["ok"]  # the control: by itself it is a shorter, sound log
    for place in (tmp_path, file):
        verdict = judge("--against", str(place))
        assert (verdict["ok"], verdict["index"], verdict["code"]) == (False, 31, "cut")


def test_an_export_is_proven_without_a_database(
    filled: str, admin: psycopg.Connection, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = exported(tmp_path, _rows(admin))
    assert main(["verify", "--against", str(file)]) == 0
    text = gzip.decompress(file.read_bytes()).splitlines(keepends=True)
    for number, broken in enumerate((
        [*text[:20], text[20].replace(b"req_", b"rek_"), *text[21:]],
        [*text[:20], *text[21:]],
        [*text[:20], text[20][:30]],
        [*text[:20], b"{}\n", *text[21:]],
    )):  # fmt: skip
        file.write_bytes(gzip.compress(b"".join(broken)))
        capsys.readouterr()
        assert main(["verify", "--against", str(file)]) == 1, number
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["index"] == 20, number
    file.write_bytes(gzip.compress(b"".join(text))[:-200])
    assert main(["verify", "--against", str(file)]) == 1


def test_what_cannot_be_checked_has_no_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--against", str(tmp_path / "nowhere.gz")]) == 3
    assert main(["verify", "--against", str(tmp_path)]) == 3
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["line"] == "broken"
    assert main(["verify"]) == 2


def test_a_log_whose_beginning_went_by_retention_is_sound(judge: Judge, admin: psycopg.Connection) -> None:
    admin.execute("""UPDATE heroctl.floor SET (index, chain) = (SELECT index, chain FROM heroctl.events
        WHERE index = 14)""")
    admin.execute("DELETE FROM heroctl.events WHERE index < 14")
    verdict = judge()
    assert (verdict["ok"], verdict["first"], verdict["events"]) == (True, 15, 19)
    admin.execute("UPDATE heroctl.floor SET chain = sha256('x')")
    assert judge()["index"] == 15


# ── the check itself ─────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.data())
async def test_whatever_is_changed_in_any_row_is_found_at_that_append(data: st.DataObject) -> None:
    log = MemoryLog(lambda: 1000)
    await fill(log)
    rows = list(log._rows)
    at = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.sampled_from([1, 2, 3, 4, 5, 6, 7]))
    row: list[Any] = list(rows[at])
    other = {1: row[1] + 1, 2: row[2] + 5, 3: row[3] + "x", 4: row[4] + 1, 5: row[5] + b" ", 6: row[6] + b" ",
             7: b"x" * 32}  # fmt: skip
    row[column] = other[column]
    first = next(each[0] for each in rows if each[1] == rows[at][1])
    end = await log.head()
    check = Check(Position())
    faults = [*check.take([*rows[:at], tuple(row), *rows[at + 1 :]])]
    faults += check.finish(end.index, end.chain, end.time, "the head")
    assert check.worst is not None
    assert first <= check.worst.index <= rows[at][1]
    assert check.sound_after is None or check.sound_after <= rows[at][1]


@given(st.sets(st.integers(0, 32), min_size=1, max_size=6), st.integers(1, 33))
async def test_whatever_is_missing_is_named(gone: set[int], page: int) -> None:
    """However the rows are cut into pages."""
    log = MemoryLog(lambda: 1000)
    await fill(log)
    end = await log.head()
    left = [row for row in log._rows if row[0] - 1 not in gone]
    check, faults = Check(Position()), list[Fault]()
    for start in range(0, len(left), page):
        faults += check.take(left[start : start + page])
    faults += check.finish(end.index, end.chain, end.time, "the head")
    named = {index - 1 for each in faults if each.code in ("missing", "cut", "torn")
             for index in range(each.index, each.last + 1)}  # fmt: skip
    assert gone <= named
    assert check.worst is not None


# ── hands ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _rows(admin: psycopg.Connection) -> list[Row]:
    query = "SELECT index, last, time, tag, schema, meta, data, chain FROM heroctl.events ORDER BY index"
    return admin.execute(query).fetchall()


def relink(admin: psycopg.Connection, rows: list[Row], index: int, *, to: int) -> None:
    """Change an event, and make the hashes of its append and of those up to another one anew, as if nothing was."""
    before = max((row for row in rows if row[0] == row[1] < index), key=lambda row: row[0])
    end = Position(before[0], before[7] or b"")
    for append in _appends([row for row in rows if before[0] < row[0] <= to]):
        if append[0][0] <= index <= append[-1][0]:
            at = index - append[0][0]
            append[at] = (*append[at][:6], b'{"uid":666,"namespace":"a","name":"b"}', append[at][7])
            admin.execute("UPDATE heroctl.events SET data = %s WHERE index = %s", [append[at][6], index])
        end = codec.link(end, append[0][2], append[0][5], [(row[3], row[4], row[6]) for row in append])
        admin.execute("UPDATE heroctl.events SET chain = %s WHERE index = %s", [end.chain, end.index])
    if to == rows[-1][0]:
        admin.execute("UPDATE heroctl.head SET chain = %s", [end.chain])


def _appends(rows: list[Row]) -> Iterator[list[Row]]:
    while rows:
        size = rows[0][1] - rows[0][0] + 1
        yield rows[:size]
        rows = rows[size:]


def exported(folder: Path, rows: list[Row]) -> Path:
    """Write all of it as an audit export, and list it."""
    first, end = rows[0], rows[-1]
    header = Header(FORMAT, "c", "i", first[0], end[0], bytes(32).hex())
    text = [msgspec.json.encode(header)]
    for index, last, time, tag, schema, meta, data, chain in rows:
        line = {"index": index, "last": last, "time": time, "tag": tag, "schema": schema, "meta": Raw(meta),
                "data": Raw(data), "chain": (chain or b"").hex()}  # fmt: skip
        text.append(msgspec.json.encode(line))
    file = folder / f"events-{first[0]}-{end[0]}.ndjson.gz"
    file.write_bytes(gzip.compress(b"\n".join(text) + b"\n"))
    entry = Entry(
        file=file.name,
        first=header.first,
        last=header.last,
        before=header.before,
        chain=(end[7] or b"").hex(),
        events=len(rows),
        bytes=file.stat().st_size,
        sha256="",
        cluster=header.cluster,
        incarnation=header.incarnation,
        at="",
    )
    (folder / MANIFEST).write_bytes(msgspec.json.encode(entry) + b"\n")
    return file
