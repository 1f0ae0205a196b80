"""Passwords: what the vault keeps of them, and whether one fits. Argon2id, slow by design: never on an event loop."""

from __future__ import annotations

import secrets
from base64 import b64encode
from typing import Final

from argon2 import DEFAULT_HASH_LENGTH, DEFAULT_RANDOM_SALT_LENGTH, PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import hash_secret_raw

SHORTEST: Final = 12  # characters; no other rule makes a password better
LONGEST: Final = 256
_TIME, _MEMORY, _LANES = 2, 19 * 1024, 1
_SIZES: Final = DEFAULT_RANDOM_SALT_LENGTH, DEFAULT_HASH_LENGTH
_HASHER: Final = PasswordHasher(_TIME, _MEMORY, _LANES, type=Type.ID)


def wrong(password: str) -> str | None:
    """Say what is wrong with a password that somebody chose; None: nothing."""
    if SHORTEST <= len(password) <= LONGEST:
        return None
    return f"a password has {SHORTEST} to {LONGEST} characters, of any kind"


def hashed(password: str) -> bytes:
    """Return what the vault keeps of a password."""
    return _HASHER.hash(password).encode()


def unknown() -> bytes:
    """Return what might be kept of a password that nobody knows: to compare with it takes as long as with any."""
    salt, of_nobody = (b64encode(secrets.token_bytes(size)).rstrip(b"=").decode() for size in _SIZES)
    return f"$argon2id$v=19$m={_MEMORY},t={_TIME},p={_LANES}${salt}${of_nobody}".encode()


def fits(kept: bytes, password: str) -> bool:
    """Tell whether a password is the one of which this is kept."""
    try:
        return _HASHER.verify(kept, password)
    except (VerificationError, InvalidHashError):
        return False


def outdated(kept: bytes) -> bool:
    """Tell whether this was made with other parameters than are used today."""
    return _HASHER.check_needs_rehash(kept.decode())


def stretched(data: bytes, salt: bytes) -> bytes:
    """Return 32 bytes that stand for others, and cost whoever guesses at those as much as a password does."""
    return hash_secret_raw(data, salt, _TIME, _MEMORY, _LANES, 32, Type.ID)


def drawn() -> str:
    """Draw a password of 144 random bits."""
    return secrets.token_urlsafe(18)
