"""Arrays as binary parameters of fixed type, without NULLs.

The driver's own lists take the narrowest type that holds their numbers, so that a statement would be prepared once for
each mixture; and they are dumped item by item, while the head row's queue grows.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format

_BIGINT, _INTEGER, _TEXT, _BYTEA, _REAL = 20, 23, 25, 17, 700  # the elements' oids
_REALS: Final = 1021
_HEADER: Final = 20  # bytes before the elements of an array of one dimension
_SWAPS: Final = sys.byteorder == "little"
_HEAD: Final = struct.Struct("!iiIii").pack  # dimensions, whether NULLs, element's oid, length, lower bound
_EMPTY: Final = struct.Struct("!iiI").pack
_LENGTH: Final = struct.Struct("!i").pack


class _Array:
    """The elements of a parameter."""

    __slots__ = ("values",)

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values


class Bigints(_Array):
    """A `bigint[]` of ints."""


class Integers(_Array):
    """An `integer[]` of ints."""


class Texts(_Array):
    """A `text[]` of strings without NUL."""


class Blobs(_Array):
    """A `bytea[]` of bytes."""


class Reals(_Array):
    """A `real[]` of floats; NaN stands for none."""


class _RealsDumper(Dumper):
    format = Format.BINARY
    oid = _REALS

    def dump(self, obj: Reals) -> bytes:
        if not obj.values:
            return _EMPTY(0, 0, _REAL)
        words = array("I", [4]) * (2 * len(obj.values))
        words[1::2] = array("I", array("f", obj.values).tobytes())
        if _SWAPS:
            words.byteswap()
        return _HEAD(1, 0, _REAL, len(obj.values), 1) + words.tobytes()


class _RealsLoader(Loader):
    """A `real[]` without NULLs as an array of floats, without making a number of each."""

    format = Format.BINARY

    def load(self, data: Buffer) -> array[float]:
        return reals([bytes(data)])


class _BigintsDumper(Dumper):
    format = Format.BINARY
    oid = 1016

    def dump(self, obj: Bigints) -> bytes:
        return _numbers(_BIGINT, 8, obj.values)


class _IntegersDumper(Dumper):
    format = Format.BINARY
    oid = 1007

    def dump(self, obj: Integers) -> bytes:
        return _numbers(_INTEGER, 4, obj.values)


class _TextsDumper(Dumper):
    format = Format.BINARY
    oid = 1009

    def dump(self, obj: Texts) -> bytes:
        return _strings(_TEXT, [value.encode() for value in obj.values])


class _BlobsDumper(Dumper):
    format = Format.BINARY
    oid = 1001

    def dump(self, obj: Blobs) -> bytes:
        return _strings(_BYTEA, obj.values)


def register(connection: AsyncConnection) -> None:
    """Teach a connection these arrays."""
    adapters = connection.adapters
    adapters.register_dumper(Bigints, _BigintsDumper)
    adapters.register_dumper(Integers, _IntegersDumper)
    adapters.register_dumper(Texts, _TextsDumper)
    adapters.register_dumper(Blobs, _BlobsDumper)
    adapters.register_dumper(Reals, _RealsDumper)
    adapters.register_loader(_REALS, _RealsLoader)


def reals(sent: Iterable[bytes]) -> array[float]:
    """Put the elements of several `real[]` without NULLs, as `array_send` gives them, into one array of floats."""
    words = array("I", b"".join([each[_HEADER:] for each in sent]))
    if _SWAPS:
        words.byteswap()
    return array("f", words[1::2].tobytes())


def _numbers(element: int, size: int, values: Sequence[int]) -> bytes:
    if not values:
        return _EMPTY(0, 0, element)
    flat = [size] * (2 * len(values))
    flat[1::2] = values
    return _HEAD(1, 0, element, len(values), 1) + struct.pack("!" + ("iq" if size == 8 else "ii") * len(values), *flat)


def _strings(element: int, values: Sequence[bytes]) -> bytes:
    if not values:
        return _EMPTY(0, 0, element)
    parts = [_HEAD(1, 0, element, len(values), 1)]
    for value in values:
        parts += (_LENGTH(len(value)), value)
    return b"".join(parts)
