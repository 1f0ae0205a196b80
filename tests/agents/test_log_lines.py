"""Lines: what an engine streams and what stands in files, read in pieces of any size, from anywhere, and tidied."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agents.docker_logs import Frames, since
from agents.log_lines import BEGINNING, Allowance, Place, Position, Said, Written, lines_of, tidy
from agents.log_tail import QUEUE, Stream, Tail, Whose
from agents.process_logs import SKIP, read
from heroctl.domain.logs import LINE, Batch, Line

WHOSE = Whose("a1", "default", "shop", "web", "c" * 64)


def frame(number: int, text: bytes, kind: int = 1) -> bytes:
    stamp = f"2026-03-01T12:00:{number // 1000:02}.{number % 1000:03}000000Z ".encode()
    return struct.pack(">BxxxL", kind, len(stamp) + len(text)) + stamp + text


def pieces(raw: bytes, cuts: list[int]) -> list[bytes]:
    marks = sorted({0, len(raw), *(cut % (len(raw) + 1) for cut in cuts)})
    return [raw[begin:end] for begin, end in itertools.pairwise(marks)]


@given(st.lists(st.tuples(st.binary(max_size=40), st.sampled_from([1, 2])), max_size=30), st.lists(st.integers(0)))
def test_frames_are_read_however_they_are_cut(said: list[tuple[bytes, int]], cuts: list[int]) -> None:
    clean = [(text.replace(b"\n", b""), kind) for text, kind in said]
    raw = b"".join(frame(number, text + b"\n", kind) for number, (text, kind) in enumerate(clean))
    frames = Frames()
    found = [line for part in pieces(raw, cuts) for line in frames.take(part)]
    assert [(line.raw, line.output) for line in found] == [
        (text, "stdout" if kind == 1 else "stderr") for text, kind in clean
    ]


@given(
    st.lists(st.tuples(st.binary(max_size=20), st.sampled_from([1, 2])), max_size=40),
    st.lists(st.integers(0)),
    st.lists(st.booleans(), min_size=1),
)
def test_every_line_is_given_or_counted(said: list[tuple[bytes, int]], cuts: list[int], takes: list[bool]) -> None:
    raw = b"".join(frame(number, text.replace(b"\n", b"") + b"\n", kind) for number, (text, kind) in enumerate(said))
    frames, count = Frames(), 0
    for number, part in enumerate(pieces(raw, cuts)):
        count += len(frames.take(part)) if takes[number % len(takes)] else frames.skip(part)
    assert count == len(said)


@given(st.integers(0, 30), st.lists(st.sampled_from([1, 2]), min_size=30, max_size=30))
def test_read_anew_from_a_position_nothing_is_missing_nor_twice(until: int, kinds: list[int]) -> None:
    stamps = [number // 3 for number in range(30)]  # three lines of one and the same time
    made = [
        frame(stamp, b"%d\n" % number, kind) for number, (stamp, kind) in enumerate(zip(stamps, kinds, strict=True))
    ]
    first = Frames()
    before = first.take(b"".join(made[:until]))
    again = Frames(first.position)
    after = again.take(b"".join(made))
    assert sorted(int(line.raw) for line in [*before, *after]) == list(range(30))


@given(st.integers(0, 30))
def test_what_was_given_before_is_not_counted_again(until: int) -> None:
    made = [frame(number, b"%d\n" % number) for number in range(30)]
    first = Frames()
    before = len(first.take(b"".join(made[:until])))
    again = Frames(first.position)
    assert before + sum(again.skip(part) for part in made) == 30


def test_a_line_of_a_mebibyte_comes_in_parts_that_say_so() -> None:
    parts = [frame(number, b"x" * LINE) for number in range(63)] + [frame(63, b"x" * LINE + b"\n")]
    found = Frames().take(b"".join(parts))
    assert [line.partial for line in found] == [True] * 63 + [False]
    whole = list(lines_of(Written(0, "stdout", b"y" * (1 << 20))))
    assert [line.partial for line in whole] == [True] * 63 + [False]
    assert sum(len(line.text) for line in whole) == 1 << 20


def long(line: int, parts: int, kind: int = 1) -> list[bytes]:
    middle = [frame(line * 100 + number, b"x" * LINE, kind) for number in range(1, parts)]
    return [
        frame(line * 100, b"%d " % line + b"x" * (LINE - 2), kind),
        *middle,
        frame(line * 100 + parts, b"x\n", kind),
    ]


@given(
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from([1, 2])), max_size=6),
    st.lists(st.integers(0)),
    st.lists(st.booleans(), min_size=1),
)
def test_a_long_line_is_told_from_its_beginning_or_counted_once(
    said: list[tuple[int, int]], cuts: list[int], takes: list[bool]
) -> None:
    raw = b"".join(part for line, (parts, kind) in enumerate(said) for part in long(line, parts, kind))
    frames, count, told = Frames(), 0, list[Written]()
    for number, part in enumerate(pieces(raw, cuts)):
        if takes[number % len(takes)]:
            told += frames.take(part)
        else:
            count += frames.skip(part)
    assert sum(not line.partial for line in told) + count == len(said), "one that was cut is told, and counted"
    whole = [line for line in told if line.raw[:1].isdigit()]
    assert len(whole) >= sum(not line.partial for line in told), "no end without its beginning"


def test_of_a_long_line_that_is_passed_by_the_rest_is_no_line() -> None:
    frames, line = Frames(), long(0, 4)
    assert frames.skip(b"".join(line[:2])) == 1
    assert [said.raw for said in frames.take(b"".join([*line[2:], frame(900, b"next\n")]))] == [b"next"]
    frames = Frames()
    assert len(frames.take(b"".join(line[:2]))) == 2
    assert sum(frames.skip(part) for part in line[2:]) == 1
    assert Frames().skip(b"".join(part for number in range(3) for part in long(number, 60))) == 3


def test_what_steers_a_terminal_is_taken_out_and_what_is_no_text_marked() -> None:
    assert tidy(b"\x1b[31mred\x1b[0m\ttab \x1b]0;title\x07end\r") == "red\ttab end"
    assert tidy(b"a\x00b\xffc\x9bd") == "a\ufffdb\ufffdc\ufffdd"
    assert tidy("grüße ✓".encode()) == "grüße ✓"


def test_it_is_asked_for_what_came_a_little_before() -> None:
    assert since(BEGINNING) == ""
    place = Position(Place(stamp="2026-03-01T12:00:10.500000000Z", seen=1))
    assert since(place) == "1772366408.000000000"


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_files_are_read_on_and_an_unfinished_line_waits(tmp_path: Path) -> None:
    out, err = tmp_path / "stdout.log", tmp_path / "stderr.log"
    out.write_bytes(b"one\ntwo\nthr")
    err.write_bytes(b"bad\n")
    said = read(tmp_path, BEGINNING, 5, count=False, ended=False)
    assert [(line.raw, line.output) for line in said.written] == [
        (b"one", "stdout"), (b"two", "stdout"), (b"bad", "stderr"),
    ]  # fmt: skip
    with out.open("ab") as file:
        file.write(b"ee\nlast")
    said = read(tmp_path, said.position, 6, count=False, ended=False)
    assert [line.raw for line in said.written] == [b"three"]
    said = read(tmp_path, said.position, 6, count=False, ended=True)
    assert [line.raw for line in said.written] == [b"last"]
    assert read(tmp_path, said.position, 6, count=False, ended=True) == Said([], 0, said.position)


def test_lines_of_files_can_be_counted_only(tmp_path: Path) -> None:
    (tmp_path / "stdout.log").write_bytes(b"x\n" * 5_000 + b"rest")
    said = read(tmp_path, BEGINNING, 0, count=True, ended=False)
    assert (said.written, said.dropped) == ([], 5_000)
    said = read(tmp_path, said.position, 0, count=False, ended=True)
    assert [line.raw for line in said.written] == [b"rest"]


def test_of_a_line_that_is_not_at_its_end_nothing_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "stdout.log").write_bytes(b"half")
    said = read(tmp_path, BEGINNING, 0, count=True, ended=False)
    assert said == Said([], 0, BEGINNING)
    (tmp_path / "stdout.log").write_bytes(b"x" * SKIP + b"tail\nnext\n")
    said = read(tmp_path, BEGINNING, 0, count=True, ended=False)
    assert (said.dropped, said.position.stdout.offset) == (0, SKIP)
    said = read(tmp_path, said.position, 0, count=False, ended=False)
    assert [line.raw for line in said.written] == [b"tail", b"next"]


def test_a_file_that_began_anew_is_read_anew(tmp_path: Path) -> None:
    (tmp_path / "stdout.log").write_bytes(b"short\n")
    said = read(tmp_path, Position(Place(1_000)), 0, count=False, ended=False)
    assert [line.raw for line in said.written] == [b"short"]


# ── what waits ───────────────────────────────────────────────────────────────────────────────────────────────────────


def said(*texts: str, dropped: int = 0) -> Said:
    return Said([Written(1, "stdout", text.encode()) for text in texts], dropped, BEGINNING)


def shipped(tail: Tail, now: float = 0.0) -> Batch:
    made = tail.batch(now)
    assert made is not None
    tail.shipped(made[1])
    return made[0]


def numbers(batch: Batch) -> list[int]:
    found, number = [], batch.first
    for line in batch.lines:
        number += line.count
        found.append(number - 1)
    return found


def test_dropped_lines_are_told_where_they_stood_and_counted_by_their_numbers() -> None:
    tail = Tail(WHOSE, 1e6, 1e6)
    tail.take(said("a", "b", dropped=40), 0.0, 2)
    tail.take(said("c"), 0.1, 3)
    batch = shipped(tail)
    assert [(line.text, line.dropped) for line in batch.lines[:2]] == [("a", 0), ("b", 0)]
    assert (batch.lines[2].dropped, batch.lines[2].source) == (40, "system")
    assert "40 lines were dropped" in batch.lines[2].text
    assert numbers(batch) == [1, 2, 42, 43]
    tail.take(said("d"), 0.2, 4)
    assert numbers(shipped(tail)) == [44]


def test_while_lines_go_on_being_dropped_it_is_told_every_second() -> None:
    tail = Tail(WHOSE, 1e6, 1e6)
    tail.take(said(dropped=7), 0.0, 1)
    assert tail.batch(0.5) is None
    assert shipped(tail, 1.0).lines[0].dropped == 7
    tail.take(said(dropped=1), 1.1, 1)
    tail.done = True
    assert "1 line was dropped" in shipped(tail, 1.2).lines[0].text


def test_what_is_not_taken_in_is_counted_before_what_follows() -> None:
    tail = Tail(WHOSE, 1e6, 1e6)
    tail.take(said(*"abc"), 0.0, 1)
    made = tail.batch(0.0)
    assert made is not None
    tail.take(said("d"), 0.0, 1)
    tail.lost(made[1], "full", 0.0)
    batch = shipped(tail)
    assert [(line.text, line.dropped) for line in batch.lines] == [("3 lines were dropped: full", 3), ("d", 0)]
    assert numbers(batch) == [3, 4]


def test_only_so_much_waits_and_only_so_much_is_shipped_a_second() -> None:
    tail = Tail(WHOSE, 1e9, 1e9)
    while tail.spare(0.0):
        tail.take(said("x" * 10_000), 0.0, 1)
    assert QUEUE <= tail.size <= QUEUE + 11_000
    allowance = Allowance(100, 1_000)
    assert allowance.spare(0.0)
    allowance.take(1_500)
    assert not allowance.spare(4.0)
    assert allowance.spare(5.5)


def test_a_stream_keeps_within_its_bounds() -> None:
    stream = Stream()
    for number in range(1, 401):
        stream.grew(f"{number}-0", 1_000, 10, most_bytes=100_000, most_lines=10_000)
    assert sum(mark.size for mark in stream.marks) <= 100_000
    assert sum(mark.size for mark in stream.marks) >= 90_000
    assert stream.trim == stream.marks[0].first
    assert len(stream.marks) <= 40
    few = Stream()
    for number in range(100):
        few.grew(f"{number}-0", 10, 50, most_bytes=100_000, most_lines=1_000)
    assert 900 <= sum(mark.lines for mark in few.marks) <= 1_000


def test_a_line_tells_its_size_in_bounds() -> None:
    assert Line(0, "x" * 10).size == 74
