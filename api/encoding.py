"""Compression: bodies of reads, once for everybody who shares them; streams are left alone.

A small body is not worth it. A compressed one is another representation, with an ETag of its own.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from api.answer import COMPRESSED_FROM, Answer, Header

_LEVEL: Final = 5
_ON_THE_LOOP: Final = 16 << 10  # bytes that take less than a thread's turn
_SUFFIX: Final = b'-gzip"'
_OWN: Final = frozenset({b"etag", b"content-length", b"content-encoding"})


@lru_cache(maxsize=256)
def accepts(value: bytes) -> bool:
    """Tell whether an Accept-Encoding would rather have gzip than nothing of the kind."""
    weights: dict[bytes, float] = {}
    for part in value.lower().split(b","):
        name, _, parameter = part.partition(b";")
        weights[name.strip()] = _weight(parameter.strip())
    wanted = weights.get(b"gzip", weights.get(b"x-gzip", weights.get(b"*", 0.0)))
    return wanted > 0 and wanted >= weights.get(b"identity", 0.0)


def _weight(parameter: bytes) -> float:
    if not parameter:
        return 1.0
    name, _, number = parameter.partition(b"=")
    try:
        weight = float(number)
    except ValueError:
        return 0.0
    return weight if name.strip() == b"q" and 0 <= weight <= 1 else 0.0


def asked(headers: Iterable[Header]) -> bool:
    """Tell whether a request would rather have a compressed answer."""
    found = [value for name, value in headers if name == b"accept-encoding"]
    return bool(found) and accepts(b",".join(found))


async def packed(answer: Answer) -> Answer:
    """Compress an answer, once; the answer itself where that does not pay."""
    if len(answer.body) < COMPRESSED_FROM or _encoded(answer):
        return answer
    if answer.packed is None:
        body = answer.body
        small = _zipped(body) if len(body) <= _ON_THE_LOOP else await asyncio.to_thread(_zipped, body)
        answer.packed = _variant(answer, small) if len(small) < len(body) else answer
    return answer.packed


def _zipped(body: bytes) -> bytes:
    return gzip.compress(body, _LEVEL, mtime=0)


def _encoded(answer: Answer) -> bool:
    return any(name == b"content-encoding" for name, _ in answer.headers)


def _variant(answer: Answer, body: bytes) -> Answer:
    made = Answer(body, answer.status)
    made.headers = [
        *((name, value) for name, value in answer.headers if name not in _OWN),
        (b"content-length", b"%d" % len(body)),
        (b"content-encoding", b"gzip"),
        *((name, tag_of(value)) for name, value in answer.headers if name == b"etag"),
    ]
    return made


def tag_of(tag: bytes) -> bytes:
    """Name the compressed representation of what has this ETag."""
    return tag[:-1] + _SUFFIX


def names(value: bytes, tag: bytes) -> bool:
    """Tell whether an If-None-Match names what has this ETag, in whichever encoding: one, a list, weak ones, or all."""
    if value.strip() == b"*":
        return True
    found = {each.strip().removeprefix(b"W/") for each in value.split(b",")}
    return tag in found or tag_of(tag) in found
