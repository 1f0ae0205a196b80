"""What only this cluster's secret can make: marks of idempotency keys, and signatures of what clients bring back."""

from __future__ import annotations

import hmac
from typing import Final

import msgspec

from eventstore.log import Key

NAME: Final = "Idempotency-Key"
KEY_BYTES: Final = 32


class Marks:
    """Makes, of a key and of what is asked with it, what the log keeps: digests that only this secret can make."""

    def __init__(self, secret: bytes) -> None:
        """Refuse a secret that could be guessed."""
        if len(secret) < KEY_BYTES:
            raise ValueError(f"the secret of idempotency keys has at least {KEY_BYTES} bytes")
        self._secret = secret

    def key(self, scope: list[str], asked: object, body: bytes) -> Key:
        """Mark a key by its scope (whose it is, on which route, the word itself) and by all that is asked."""
        return Key(self._digest(b"key", scope, b""), self._digest(b"body", asked, body))

    def sign(self, words: object, size: int) -> bytes:
        """Sign what a client is to bring back, with so many bytes."""
        return self._digest(b"sign", words, b"")[:size]

    def signed(self, words: object, mac: bytes) -> bool:
        """Tell whether it was signed so, by any process of this cluster."""
        return bool(mac) and hmac.compare_digest(self.sign(words, len(mac)), mac)

    def _digest(self, label: bytes, words: object, body: bytes) -> bytes:
        # JSON holds no NUL, so that nothing else gives these bytes.
        return hmac.digest(self._secret, b"\0".join((label, msgspec.json.encode(words), body)), "sha256")
