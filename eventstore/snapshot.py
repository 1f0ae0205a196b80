"""A snapshot's bytes: a state as of one position of the log, in a form that proves itself.

The stream is a run of frames, packed by zlib and cut into rows of at most `ROW` bytes. A frame is its length (4 bytes,
big-endian) and MessagePack: first the header, then for each map of the state, in the order of their names, frames of
`[name, [[key, value], ...]]`. A frame of length 0 and the SHA-256 over every byte before it end the stream. The header
holds the position, the release that wrote it and the shape: the names of the fields of every record.

Maps keep their order, for in some of them it means something: a job's allocations, its finished ones, those of a node.
Only topics are sorted: nothing goes through them in order, so nothing promises that two readers have them in the same.
Whoever folds the same history, in pages of any size, writes the same bytes.

What may be read: a snapshot of this release's `FORMAT`, or of one that `UPGRADES` knows. Within a format a field may
come that events of old never set: missing, it has its default. A field or map that is derived from events that there
were before it needs another format, with an upgrade that fills it from the rest of the state, or without one, if only
the log can tell; and so does a fold that gives another state for an old history. A field that this release does not
know is another release's, and refused. No secret is in a state, so none is in here: credentials are ids of the vault.
"""

from __future__ import annotations

import dataclasses
import hashlib
import struct
import types
import typing
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from eventstore.log import Position
from eventstore.words import Words
from heroctl.domain.state import State

FORMAT: Final = 1
# From a former format, the one before this at most: what makes its state, read as far as it goes, one of this release.
UPGRADES: Final[dict[int, Callable[[State], None]]] = {}
ROW: Final = 256 * 1024  # bytes
_FRAME: Final = 64 * 1024  # bytes, about: a frame ends with the entry that reaches it
_LONGEST: Final = 1 << 30  # bytes of a frame that is believed
_INFLATED: Final = 4 << 20  # bytes that a row is unpacked to at a time
_LEVEL: Final = 1  # of zlib: higher ones cost much more time than they save room
_LENGTH: Final = struct.Struct("!I")
_ENCODER: Final = msgspec.msgpack.Encoder()


class Unreadable(Exception):  # noqa: N818 - an answer: take another, or the log
    """These bytes are no snapshot that this release can read: damaged, cut short, or of a newer release."""


class Newer(Unreadable):
    """These bytes may well be whole, but a newer release wrote fields in them that this one does not know."""


class Header(Struct, frozen=True):
    """What a snapshot says of itself. `shape` names the fields of each kind of record, `values` the state's numbers."""

    format: int
    release: str
    index: int
    chain: bytes
    incarnation: str
    shape: dict[str, list[str]]
    values: dict[str, int | str | bool | None]


class Form(Struct, frozen=True):
    """How this release lays a state out: its single values, and its maps with what reads their entries."""

    shape: dict[str, list[str]]
    values: dict[str, Any]
    maps: dict[str, msgspec.msgpack.Decoder[Any]]
    items: dict[str, Any]


def form(state: type = State) -> Form:
    """Read the layout off the types."""
    hints = typing.get_type_hints(state)
    names = [field.name for field in dataclasses.fields(state)]
    maps = {name: hints[name] for name in sorted(names) if typing.get_origin(hints[name]) is dict}
    items = {name: types.GenericAlias(tuple, typing.get_args(kind)) for name, kind in maps.items()}
    shape = {"State": names}
    for item in items.values():
        _describe(item, shape)
    return Form(
        shape,
        values={name: hints[name] for name in names if name not in maps},
        maps={name: msgspec.msgpack.Decoder(types.GenericAlias(list, (item,))) for name, item in items.items()},
        items=items,
    )


def _describe(kind: Any, shape: dict[str, list[str]]) -> None:  # noqa: ANN401 - a type
    if isinstance(kind, type) and issubclass(kind, Struct) and kind.__name__ not in shape:
        fields = msgspec.structs.fields(kind)
        shape[kind.__name__] = [field.encode_name for field in fields]
        for field in fields:
            _describe(field.type, shape)
    for part in typing.get_args(kind):
        _describe(part, shape)


_FORM: Final = form()
_HEADER: Final = msgspec.msgpack.Decoder(Header)
_ENTRIES: Final = msgspec.msgpack.Decoder(tuple[str, Raw])


class Writing:
    """The rows of a snapshot, once: to be iterated. When they have ended `hash` and `size` (bytes unpacked) are known.

    The state must not change meanwhile. ValueError: the position is not the state's.
    """

    def __init__(self, state: State, position: Position, release: str) -> None:
        if state.index != position.index:
            raise ValueError(f"a state at {state.index} cannot stand at {position.index}")
        self.header = Header(
            FORMAT,
            release,
            position.index,
            position.chain,
            state.incarnation,
            _FORM.shape,
            {name: getattr(state, name) for name in _FORM.values},
        )
        self.hash = b""
        self.size = 0
        self._state = state

    def __iter__(self) -> Iterator[bytes]:
        """Give the rows, in order."""
        return packed(self._frames())

    def _frames(self) -> Iterator[bytes]:
        digest = hashlib.sha256()
        for frame in self._bodies():
            length = _LENGTH.pack(len(frame))
            digest.update(length)
            digest.update(frame)
            self.size += len(length) + len(frame)
            yield length
            yield frame
        self.hash = digest.digest()
        yield _LENGTH.pack(0)
        yield self.hash

    def _bodies(self) -> Iterator[bytes]:
        yield _ENCODER.encode(self.header)
        for name in _FORM.maps:
            items = getattr(self._state, name).items()
            yield from _batches(name, sorted(items) if name == "topics" else items)


def _batches(name: str, items: Iterable[tuple[Any, Any]]) -> Iterator[bytes]:
    entries: list[bytes] = []
    size = 0
    for item in items:
        entry = _ENCODER.encode(item)
        entries.append(entry)
        size += len(entry)
        if size >= _FRAME:
            yield _batch(name, entries)
            entries, size = [], 0
    if entries:
        yield _batch(name, entries)


def _batch(name: str, entries: list[bytes]) -> bytes:
    # MessagePack: an array of two, and in it an array of so many (32 bits).
    return b"".join((b"\x92", _ENCODER.encode(name), b"\xdd", _LENGTH.pack(len(entries)), *entries))


def packed(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Pack a stream and cut it into rows."""
    packer = zlib.compressobj(_LEVEL)
    held = bytearray()
    for part in parts:
        held += packer.compress(part)
        while len(held) >= ROW:
            yield bytes(held[:ROW])
            del held[:ROW]
    held += packer.flush()
    for start in range(0, len(held), ROW):
        yield bytes(held[start : start + ROW])


class Reading:
    """Reads rows, given in order to `feed`; `end` gives the state, once it is known to be whole.

    Every method raises Unreadable. Words that many records share are kept once, as a fold keeps them.
    """

    def __init__(self) -> None:
        self.header: Header | None = None
        self.hash = b""
        self._state = State()
        self._maps: dict[str, dict[Any, Any]] = {}
        self._words = Words()
        self._shares = {name: self._words.sharer(kind) for name, kind in _FORM.items.items()}
        self._unpacker = zlib.decompressobj()
        self._held = bytearray()
        self._digest = hashlib.sha256()
        self._ended = False

    @property
    def position(self) -> Position:
        """Where it says that it stands, once its header was read."""
        return Position() if self.header is None else Position(self.header.index, self.header.chain)

    def feed(self, row: bytes) -> None:
        """Take the next row."""
        rest = row
        while rest:
            try:
                self._held += self._unpacker.decompress(rest, _INFLATED)
            except zlib.error as error:
                raise Unreadable(f"a row is damaged: {error}") from error
            rest = self._unpacker.unconsumed_tail
            self._frames()
        if self._unpacker.unused_data:
            raise Unreadable("something follows its end")

    def end(self) -> State:
        """Give the state. It must be all there, and its bytes what they were when they were hashed."""
        if self.header is None or not self._ended or not self._unpacker.eof:
            raise Unreadable("it is cut short")
        if self.header.format != FORMAT:
            UPGRADES[self.header.format](self._state)
        return self._state

    def _frames(self) -> None:
        held, at = self._held, 0
        while not self._ended and len(held) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(held, at)
            if length > _LONGEST:
                raise Unreadable(f"a frame of {length} bytes")
            stop = at + _LENGTH.size + (length or self._digest.digest_size)
            if len(held) < stop:
                break
            with memoryview(held) as view:
                self._frame(view[at:stop], length)
            at = stop
        del held[:at]
        if self._ended and held:
            raise Unreadable("something follows its hash")

    def _frame(self, frame: memoryview, length: int) -> None:
        body = bytes(frame[_LENGTH.size :])
        if not length:
            self._finish(body)
            return
        self._digest.update(frame)
        try:
            if self.header is None:
                self._begin(_HEADER.decode(body))
            else:
                self._take(*_ENTRIES.decode(body))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Unreadable(f"a frame cannot be read: {error}") from error

    def _finish(self, told: bytes) -> None:
        if self._digest.digest() != told:
            raise Unreadable("its hash is another")
        self.hash = told
        self._ended = True

    def _begin(self, header: Header) -> None:
        if header.format != FORMAT and header.format not in UPGRADES:
            raise Unreadable(f"its format is {header.format}, and this release reads {sorted({FORMAT, *UPGRADES})}")
        if header.format == FORMAT and (unknown := _unknown(header.shape)):
            raise Newer(f"release {header.release} wrote fields that this one does not know: {unknown}")
        for name, value in header.values.items():
            if name in _FORM.values:
                setattr(self._state, name, msgspec.convert(value, _FORM.values[name]))
        if (self._state.index, self._state.incarnation) != (header.index, header.incarnation):
            raise Unreadable("its header contradicts itself")
        for name in set(_FORM.maps).intersection(header.shape.get("State", ())):
            self._maps[name] = {}
            setattr(self._state, name, self._maps[name])
        self.header = header

    def _take(self, name: str, entries: Raw) -> None:
        if name not in self._maps:
            if self.header is not None and self.header.format == FORMAT:
                raise Unreadable(f"it has a map {name!r} that it did not announce")
            return  # of a former format, and gone since
        target, share = self._maps[name], self._shares[name]
        pairs = _FORM.maps[name].decode(entries)
        target.update(pairs if share is None else map(share, pairs))


def _unknown(shape: dict[str, list[str]]) -> list[str]:
    return sorted(
        f"{kind}.{field}"
        for kind, fields in shape.items()
        for field in fields
        if field not in _FORM.shape.get(kind, ())
    )
