"""Ids are derived, never drawn: the same history gives the same ids, and a decision made twice names the same thing."""

from __future__ import annotations

import hashlib
import struct
from functools import lru_cache
from typing import Final

_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"
_CHARACTERS: Final = _ALPHABET.encode() * 8  # of bytes: each stands for as many
_BITS: Final = struct.Struct(">QH").unpack  # of 80
_THIRTY: Final = (1 << 30) - 1
_PAIRS: Final = tuple(high + low for high in _ALPHABET for low in _ALPHABET)  # of ten bits


def _derive(*parts: str | int) -> str:
    """Hash to 80 bits, written in base32. (The standard library's takes longer than the fold of an event.)"""
    text = "/".join(map(str, parts)) if len(parts) > 1 else str(parts[0])
    most, least = _BITS(hashlib.blake2b(text.encode(), digest_size=10).digest())
    # Cut into 30, 30 and 20 bits: larger numbers are slower to take apart.
    first, second, third, pairs = most >> 34, most >> 4 & _THIRTY, (most & 15) << 16 | least, _PAIRS
    return (
        f"{pairs[first >> 20]}{pairs[first >> 10 & 1023]}{pairs[first & 1023]}{pairs[second >> 20]}"
        f"{pairs[second >> 10 & 1023]}{pairs[second & 1023]}{pairs[third >> 10]}{pairs[third & 1023]}"
    )


def allocation_id(incarnation: str, uid: int, n: int) -> str:
    """Name the n-th allocation of the job with this uid: 16 characters of base32. `n` never goes back."""
    return _allocation_ids(incarnation, uid, n >> 2)[n & 3]


@lru_cache(maxsize=1024)  # thousands are named at a time, and who checks a decision names them once more
def _allocation_ids(incarnation: str, uid: int, four: int) -> tuple[str, str, str, str]:
    """Name four allocations that follow one another by one hash: each of its bytes gives a character."""
    hashed = hashlib.blake2b(f"{incarnation}/{uid}/{four}".encode(), digest_size=64).digest()
    text = hashed.translate(_CHARACTERS).decode()
    return text[:16], text[16:32], text[32:48], text[48:]


def deployment_id(incarnation: str, index: int) -> str:
    """Name the deployment that the event at this index began."""
    return _derive(incarnation, "deployment", index)


def event_id(incarnation: str, index: int) -> str:
    """Name an event for those outside, over all histories of the log."""
    return f"evt_{incarnation}_{index}"


def digest(content: bytes) -> str:
    """Return the 16 hex digits that stand for some bytes where equality is asked for."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def node_id(name: str, token_id: str) -> str:
    """Name the node that joins as `name` with a single-use join token."""
    return _derive("node", name, token_id)
