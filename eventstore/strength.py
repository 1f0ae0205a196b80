"""How much a signing key is worth: whoever guesses it is whoever he likes. Pure."""

from __future__ import annotations

import base64
import hashlib
import math
from collections import Counter
from itertools import pairwise
from typing import Final

BYTES: Final = 32
_BITS: Final = 96.0  # at least, of what its bytes could tell; 32 random bytes have about 155, 32 random hex digits 115
_WORDS: Final = (
    b"secret",
    b"password",
    b"passphrase",
    b"changeme",
    b"change-me",
    b"change_me",
    b"default",
    b"example",
    b"heroctl",
    b"insecure",
    b"placeholder",
    b"qwerty",
    b"letmein",
    b"admin123",
    b"signing",
)
# The key of RFC 7515's own example, which people copy.
_PRINTED: Final = b"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"


def weakness(key: bytes) -> str | None:
    """Say what is wrong with a key; None: nothing that shows."""
    if len(key) < BYTES:
        return f"has {len(key)} bytes, and needs at least {BYTES}"
    if key in (_PRINTED, base64.urlsafe_b64decode(_PRINTED + b"==")):
        return "is printed in a standard: everybody knows it"
    lowered = key.lower()
    if any(word in lowered for word in _WORDS):
        return "is made of words: anybody can guess those"
    if _from_a_word(key) or _from_a_word(lowered):
        return "is the digest of a word: anybody can compute that"
    if _repeats(key) or _entropy(_steps(key)) * (len(key) - 1) < _BITS or _entropy(key) * len(key) < _BITS:
        return "follows a pattern: its bytes are not random"
    return None


def _from_a_word(key: bytes) -> bool:
    words = (b"", *_WORDS, b"admin", b"test", b"key", b"jwt")
    digests = [hashlib.sha256(word) for word in words] + [hashlib.sha512(word) for word in words]
    return any(key in (digest.digest(), digest.hexdigest().encode()) for digest in digests)


def _repeats(key: bytes) -> bool:
    """Tell whether a key is one shorter piece over and over."""
    return (key + key).find(key, 1) < len(key) or key[: BYTES // 2] == key[BYTES // 2 : BYTES]


def _steps(key: bytes) -> bytes:
    return bytes((after - before) % 256 for before, after in pairwise(key))


def _entropy(data: bytes) -> float:
    """Bits a byte, judged by how often each occurs."""
    return -sum(count / len(data) * math.log2(count / len(data)) for count in Counter(data).values())
