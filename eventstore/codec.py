"""Between events and rows: encoding, the hash chain over appends, and the check of an append before it is sent.

The chain's bytes are fixed for ever. An append's own digest is made here; `sql/0002.append.sql` hashes it together with
the place that it gets and the hash of the append before, under the head row's lock.
"""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from eventstore.log import MAX_EVENTS, Append, OtherHistory, Position, Row
from heroctl.domain.events import Meta, Opaque, Record, decode, decode_meta, encode, encode_meta

Encoded = tuple[str, int, bytes]  # tag, schema, data

_PLACE: Final = struct.Struct("!qqq").pack  # first, last, time
_NUMBER: Final = struct.Struct("!i").pack
_MAX_BIGINT: Final = 2**63 - 1
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # what bytes can do to who reads them


class Sealed(msgspec.Struct, frozen=True, gc=False):
    """An append in bytes, checked."""

    append: Append
    events: tuple[Encoded, ...]
    meta: bytes
    digest: bytes
    size: int  # bytes, about


def seal(append: Append) -> Sealed:
    """Encode an append.

    Raises TooNew for what a log at its level does not take, and ValueError for what none may: a bug of the writer.
    """
    if not (append.key is None) <= len(append.events) <= MAX_EVENTS:
        raise ValueError(f"an append has 1 to {MAX_EVENTS} events, not {len(append.events)}")
    if append.moves and not append.events:
        raise ValueError("no stream moves without an event")
    if append.key is not None and not (append.key.name and append.key.body):
        raise ValueError("a key has a name and a body")
    if append.epoch is None and any(event.WRITER == "decision" for event in append.events):
        raise ValueError("a decision needs the coordinator's epoch")
    if append.epoch is not None and not 0 <= append.epoch <= _MAX_BIGINT:
        raise ValueError(f"no epoch: {append.epoch}")
    for stream in append.moves:
        _check_text("stream", stream)
    for stream, seen in append.expects:
        _check_text("stream", stream)
        if not 0 <= seen <= _MAX_BIGINT:
            raise ValueError(f"no index: {seen}")
    if append.view is not None and not 0 <= append.view.index <= _MAX_BIGINT:
        raise ValueError(f"no index: {append.view.index}")
    events = tuple([encode(event, append.level) for event in append.events])
    for tag, schema in {(tag, schema) for tag, schema, _ in events}:
        _check_text("tag", tag)
        if not 0 <= schema < 2**15:
            raise ValueError(f"no schema number: {schema}")
    meta = encode_meta(append.meta)
    size = sum([len(data) for _, _, data in events]) + len(events) * (len(meta) + 100)
    size += 100 * (len(append.moves) + len(append.expects))
    return Sealed(append, events, meta, digest(meta, events), size)


def _check_text(what: str, text: str) -> None:
    # A text column takes neither a NUL nor half of a surrogate pair: one such append would fail a whole batch.
    if not text or "\0" in text or len(text) > 1024:
        raise ValueError(f"no name of a {what}: {text[:80]!r}")
    text.encode()


def digest(meta: bytes, events: Sequence[Encoded]) -> bytes:
    """Hash what an append says: its writer does so before it stands in the line for the head row."""
    parts = [_NUMBER(len(meta)), meta]
    for tag, schema, data in events:
        parts += (_kind(tag, schema), _NUMBER(len(data)), data)
    return hashlib.sha256(b"".join(parts)).digest()


@functools.lru_cache(1024)
def _kind(tag: str, schema: int) -> bytes:
    name = tag.encode()
    return _NUMBER(len(name)) + name + _NUMBER(schema)


def link(end: Position, time: int, meta: bytes, events: Sequence[Encoded]) -> Position:
    """Return the log's end once an append stands in it, after the present one."""
    last = end.index + len(events)
    place = _PLACE(end.index + 1, last, time)
    return Position(last, hashlib.sha256(end.chain + place + digest(meta, events)).digest())


def verify(rows: Sequence[Row], position: Position) -> Position:
    """Follow whole appends from a position to their end. Raises OtherHistory where number or chain is another."""
    start = 0
    while start < len(rows):
        first, last, time, _, _, meta, _, _ = rows[start]
        if first != position.index + 1:
            raise OtherHistory(f"event {first} stands where {position.index + 1} must")
        body = rows[start : start + last - first + 1]
        if not _is_whole(body):
            raise OtherHistory(f"the append from {first} to {last} is not whole")
        position = link(position, time, meta, [(row[3], row[4], row[6]) for row in body])
        if position.chain != body[-1][7]:
            raise OtherHistory(f"the chain at {last} is another")
        start += len(body)
    return position


def _is_whole(body: Sequence[Row]) -> bool:
    """Tell whether rows are one append from its first event to its last, with one time and one meta."""
    if not body or body[-1][0] != body[0][1]:
        return False
    first, last, time, _, _, meta, _, _ = body[0]
    return len(body) == 1 or (
        all((row[0], row[1], row[2], row[5]) == (index, last, time, meta) for index, row in enumerate(body, first))
        and all(row[7] is None for row in body[:-1])
    )


def records(rows: Iterable[Row]) -> Iterator[Record]:
    """Decode rows. An event whose payload cannot be read comes back `Opaque`, like one of an unknown tag.

    One whose meta cannot be read is nobody's: who caused it makes no difference to what came of it.
    """
    known: dict[bytes, Meta] = {}
    for index, last, time, tag, schema, meta, data, _ in rows:
        who = known.get(meta)
        if who is None:
            who = known[meta] = _meta(meta)
        try:
            event = decode(tag, schema, data)
        except _UNREADABLE:
            event = Opaque(tag, schema, data)
        yield Record(index, last, time, event, who)


def _meta(data: bytes) -> Meta:
    try:
        return decode_meta(data)
    except _UNREADABLE:
        return Meta()
