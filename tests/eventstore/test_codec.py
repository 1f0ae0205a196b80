"""The chain: any change of any append, or of their order, is seen; and the bytes under it are fixed for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore import codec
from eventstore.log import Append, OtherHistory, Position, Row
from eventstore.memory import MemoryLog
from heroctl.domain.events import ClusterCreated, JobStopped, Meta, Opaque, Record

_EVENTS = st.builds(JobStopped, st.integers(0, 2**40), st.text(max_size=8), st.text(max_size=8))
_APPENDS = st.builds(
    Append, st.lists(_EVENTS, min_size=1, max_size=4).map(tuple), meta=st.builds(Meta, st.text(max_size=8))
)
_CHANGES: dict[type, Callable[[Any], object]] = {
    int: lambda number: number + 1,
    str: lambda text: text + "x",
    bytes: lambda data: data + b"x",
    type(None): lambda _: b"x",
}


def _written(appends: list[Append]) -> tuple[list[Row], Position]:
    async def write() -> tuple[list[Row], Position]:
        log = MemoryLog()
        for append in appends:
            await log.append(append)
        head = await log.head()
        return await log.page(0), Position(head.index, head.chain)

    return asyncio.run(write())


@given(st.lists(_APPENDS, max_size=5))
def test_what_is_written_is_read(appends: list[Append]) -> None:
    """Events and their meta come back, and the chain leads to the head."""
    rows, end = _written(appends)
    assert codec.verify(rows, Position()) == end
    read = [(record.event, record.meta) for record in codec.records(rows)][1:]
    assert read == [(event, append.meta) for append in appends for event in append.events]


@given(st.lists(_APPENDS, min_size=1, max_size=5), st.data())
def test_every_change_breaks_the_chain(appends: list[Append], data: st.DataObject) -> None:
    """One field of one row, or a row left out: another history, all of them."""
    rows, _ = _written(appends)
    at = data.draw(st.integers(0, len(rows) - 1))
    field = data.draw(st.integers(0, 7))
    row: list[object] = list(rows[at])
    row[field] = _CHANGES[type(row[field])](row[field])
    with pytest.raises(OtherHistory):
        codec.verify([*rows[:at], tuple(row), *rows[at + 1 :]], Position())  # type: ignore[list-item] # a Row still
    if at + 1 < len(rows):
        with pytest.raises(OtherHistory):
            codec.verify([*rows[:at], *rows[at + 1 :]], Position())


def test_bytes_under_the_chain_are_fixed() -> None:
    """A log that was written by any release verifies under this one."""
    end = codec.link(
        Position(), 1_700_000_000_123, b"{}", [("cluster.created", 1, b'{"cluster":"c"}'), ("job.stopped", 2, b"")]
    )
    assert end.index == 2
    assert end.chain.hex() == "fe4dada883889831aa2105acf3e76551e8e2fbe3af9cc3dbf2d0d6ac93ceb6b7"


def test_payload_that_cannot_be_read_comes_back_opaque() -> None:
    rows: list[Row] = [(1, 1, 0, "cluster.created", 1, b"{}", b'{"cluster":', b"")]
    assert list(codec.records(rows)) == [Record(1, 1, 0, Opaque("cluster.created", 1, b'{"cluster":'))]
    rows = [(1, 1, 0, "cluster.created", 1, b"{}", b'{"cluster":"c","incarnation":"i"}', b"")]
    assert list(codec.records(rows)) == [Record(1, 1, 0, ClusterCreated("c", "i"))]


_DEEP = b'{"new":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize("data", [b"\xff", _DEEP], ids=["no text", "too deep"])
def test_whatever_a_payload_is_others_are_read(data: bytes) -> None:
    rows: list[Row] = [(1, 1, 0, "cluster.created", 1, b"{}", data, b"")]
    assert list(codec.records(rows)) == [Record(1, 1, 0, Opaque("cluster.created", 1, data))]


@pytest.mark.parametrize("meta", [b"", b"{", b"\xff", b'{"actor":7}', b'{"actor":"\xff"}', _DEEP], ids=range(6))
def test_event_counts_though_nobody_can_read_whose_it_is(meta: bytes) -> None:
    """What is in the log stays there: whoever could not get past it would be out of order for ever."""
    rows: list[Row] = [(1, 1, 0, "cluster.created", 1, meta, b'{"cluster":"c","incarnation":"i"}', b"")]
    assert list(codec.records(rows)) == [Record(1, 1, 0, ClusterCreated("c", "i"), Meta())]
