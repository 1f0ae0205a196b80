"""What stays of an output in a message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.output import BYTES, LINES, last_lines


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", ""),
        (b"\n \n\t\n", ""),
        (b"one\n\ntwo\n", "one\ntwo"),
        (b"1\n2\n3\n4\n5\n6\n", "2\n3\n4\n5\n6"),
        (b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07and\ttabs\r\n", "red and tabs"),
        (b"10 %\r20 %\rbroken\n", "10 %\n20 %\nbroken"),
        (b"nul \0 bell \a del \x7f", "nul  bell  del"),
        ("turned \u202eround\u202c, hard\u00a0space".encode(), "turned round, hard space"),
        (b"not UTF-8: \xff\xfe", "not UTF-8: \ufffd\ufffd"),
        (b"x" * 5000 + b" the end", "x" * (BYTES - 8) + " the end"),
        ("\u00e9".encode() * 5000 + b"!", "\u00e9" * ((BYTES - 1) // 2) + "!"),
    ],
)
def test_a_few_tidy_lines_are_left(raw: bytes, told: str) -> None:
    assert last_lines(raw) == told


Said = st.one_of(st.binary(), st.lists(st.text(), max_size=40).map("\n".join).map(str.encode))


@given(Said)
def test_whatever_is_said_is_short_and_steers_nothing(raw: bytes) -> None:
    told = last_lines(raw)
    assert len(told.encode()) <= BYTES
    assert len(told.split("\n")) <= LINES
    assert all(each.isprintable() for each in told.replace("\n", ""))
    assert last_lines(told.encode()) == told


@given(st.lists(st.from_regex(r"[a-z]{1,9}", fullmatch=True), min_size=1, max_size=9))
def test_the_last_lines_are_told_as_they_were(lines: list[str]) -> None:
    assert last_lines("\n".join(lines).encode()) == "\n".join(lines[-LINES:])
