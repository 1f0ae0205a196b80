"""Sealing: what a secret holds, as bytes that say nothing without a master key.

    format 1 | id of the master key 8 | nonce 12 | data key 32 + 16 | nonce 12 | value + 16

AES-256-GCM twice. A value is sealed with a data key that is drawn for it alone, so that no two values share key and
nonce, however many there are; the data key with the master key, under a nonce of 96 random bits. To change the master
key only the front is made anew: the value stays as it is. What is sealed opens at its own place and nowhere else: the
data key in its own row and under its own master key, the value under its namespace, name, version and row.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from eventstore.strength import weakness

KEY_BYTES: Final = 32
FORMAT: Final = b"\x01"
_ID: Final = 8
_NONCE: Final = 12
_TAG: Final = 16
_HEAD: Final = len(FORMAT) + _ID
_DATA_KEY: Final = _HEAD + _NONCE + KEY_BYTES + _TAG  # where the value's nonce begins
_SHORTEST: Final = _DATA_KEY + _NONCE + _TAG


class Unopened(Exception):  # noqa: N818 - what a row is
    """A row does not open: it is cut or changed, it was sealed for another place, or its key is not here."""


class NoKey(Unopened):
    """Its master key is not here."""


class MasterKey:
    """A key that seals data keys. Its `id` tells it from others, and tells nothing else of it."""

    __slots__ = ("_aead", "id")

    def __init__(self, secret: bytes) -> None:
        """Take at least 32 bytes that nobody can guess. ValueError says what is wrong with them."""
        if why := weakness(secret):
            raise ValueError(why)
        self.id = _derived(secret, b"id", _ID).hex()
        self._aead = AESGCM(_derived(secret, b"wrap", KEY_BYTES))

    @property
    def head(self) -> bytes:
        """What all that it seals begins with."""
        return FORMAT + bytes.fromhex(self.id)

    def wrap(self, data_key: bytes, row: str) -> bytes:
        """Seal the data key of a row: the front of what is kept there."""
        nonce = os.urandom(_NONCE)
        return self.head + nonce + self._aead.encrypt(nonce, data_key, _words("key", self.id, row))

    def unwrap(self, sealed: bytes, row: str) -> bytes:
        """Open the data key of a row. Raises Unopened."""
        nonce, wrapped = sealed[_HEAD : _HEAD + _NONCE], sealed[_HEAD + _NONCE : _DATA_KEY]
        try:
            return self._aead.decrypt(nonce, wrapped, _words("key", self.id, row))
        except InvalidTag:
            raise Unopened("its data key does not open: it was changed, or is another row's") from None


class Place(NamedTuple):
    """Where a value belongs: the row it is kept in, and the secret's version that it is."""

    row: str
    namespace: str
    name: str
    version: int


def keys_of(lines: Iterable[bytes]) -> tuple[MasterKey, ...]:
    """Read master keys, each at least 32 random bytes in base64, the newest last. ValueError says what is wrong."""
    found: list[MasterKey] = []
    for number, line in enumerate(lines, 1):
        try:
            key = MasterKey(base64.b64decode(line.strip(), validate=True))
        except binascii.Error:
            raise ValueError(f"key {number} is not base64") from None
        except ValueError as error:
            raise ValueError(f"key {number} {error}") from None
        if key.id in (each.id for each in found):
            raise ValueError(f"key {number} stands there twice")
        found.append(key)
    return tuple(found)


def seal(key: MasterKey, place: Place, value: bytes) -> bytes:
    """Seal a value for its place."""
    data_key, nonce = os.urandom(KEY_BYTES), os.urandom(_NONCE)
    return key.wrap(data_key, place.row) + nonce + AESGCM(data_key).encrypt(nonce, value, _words("value", *place))


def key_of(sealed: bytes) -> str:
    """Give the id of the master key that sealed bytes were sealed with. Raises Unopened where they are none."""
    if len(sealed) < _SHORTEST or not sealed.startswith(FORMAT):
        raise Unopened("this is nothing that this release has sealed")
    return sealed[len(FORMAT) : _HEAD].hex()


def open_sealed(keys: Sequence[MasterKey], place: Place, sealed: bytes) -> bytes:
    """Give what was sealed for a place. Raises Unopened, and NoKey where none of the keys is its own."""
    data_key = _find(keys, sealed).unwrap(sealed, place.row)
    try:
        nonce, value = sealed[_DATA_KEY : _DATA_KEY + _NONCE], sealed[_DATA_KEY + _NONCE :]
        return AESGCM(data_key).decrypt(nonce, value, _words("value", *place))
    except InvalidTag:
        raise Unopened("it was changed, or belongs to another secret or version") from None


def rewrap(keys: Sequence[MasterKey], new: MasterKey, row: str, sealed: bytes) -> bytes:
    """Seal a row's data key with another master key; the value stays as it is. Raises as `open_sealed`."""
    return new.wrap(_find(keys, sealed).unwrap(sealed, row), row) + sealed[_DATA_KEY:]


def _find(keys: Sequence[MasterKey], sealed: bytes) -> MasterKey:
    identity = key_of(sealed)
    for key in keys:
        if key.id == identity:
            return key
    raise NoKey(f"it was sealed with master key {identity}, which is not here")


def _derived(secret: bytes, what: bytes, size: int) -> bytes:
    return HKDF(SHA256(), size, salt=None, info=b"heroctl master key, " + what).derive(secret)


def _words(*words: object) -> bytes:
    """Write what is bound to a seal so that no other words give the same bytes."""
    return msgspec.json.encode(("heroctl secret", FORMAT[0], *words))
