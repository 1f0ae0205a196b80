"""Tokens: how each kind is written, made and read. Whether one is known, and whose it is, `gate` says.

ht_<id>_<secret>             ACL token; the vault has the secret's SHA-256
hn_<id>_<secret>             a node's own token, the same
hj_<id>_<secret>             join token, the same; single use
rt_<session>_<n>_<mac>       refresh token number n of a session; nothing of it is stored but n
<header>.<claims>.<mac>      JWT, HS256, one fixed algorithm, the key found by `kid` in memory only
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import jwt
import msgspec
from msgspec import Struct

from api.access import expired, no_token

ALGORITHM: Final = "HS256"
KEY_BYTES: Final = 32
LIFE: Final = 24 * 3600  # seconds of an access token
_SKEW: Final = 5  # seconds that another process's clock may be ahead
_OPAQUE: Final = re.compile(r"(?P<kind>ht|hn|hj)_(?P<id>[a-z0-9]{1,64})_(?P<secret>[0-9a-f]{64})")
_REFRESH: Final = re.compile(r"rt_(?P<session>[0-9a-f]{32})_(?P<number>\d{1,9})_(?P<mac>[0-9a-f]{64})")
_LONGEST: Final = 4096
_OPTIONS: Final[Any] = {"require": ["exp", "iat", "sub", "sid", "end", "jti"], "verify_exp": False, "verify_iat": False}


class Opaque(NamedTuple):
    """A token whose secret's hash is in the vault."""

    kind: str
    id: str
    secret: str


class Refresh(NamedTuple):
    """A refresh token: the session it belongs to, and its place in the session's row of refresh tokens."""

    session: str
    number: int


class Claims(Struct, frozen=True):
    """What an access token says. Times in whole seconds since the epoch."""

    sub: str  # the user
    sid: str  # the session that all tokens of one login share
    iat: int
    exp: int
    end: int  # of the session; no refresh leads beyond it
    jti: str
    tok: str = ""  # the ACL token it was made from


def new_id() -> str:
    """Draw an id for a token."""
    return secrets.token_hex(8)


def new_session() -> str:
    """Draw an id for a session."""
    return secrets.token_hex(16)


def new_secret() -> str:
    """Draw 256 bits as hex digits."""
    return secrets.token_hex(32)


def spell(kind: str, token: str, secret: str) -> str:
    """Write an opaque token."""
    return f"{kind}_{token}_{secret}"


def parse(text: str) -> Opaque | None:
    """Read an opaque token; None where it is none."""
    found = _OPAQUE.fullmatch(text)
    return Opaque(found["kind"], found["id"], found["secret"]) if found else None


def hashed(secret: str) -> bytes:
    """Return what the vault keeps of a secret of 256 random bits; no salt is needed for those."""
    return hashlib.sha256(secret.encode()).digest()


def equal(one: bytes, other: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(one, other)


class Keys:
    """The signing keys, newest last. `clock` gives seconds since the epoch."""

    def __init__(self, keys: list[bytes], clock: Callable[[], float]) -> None:
        """Refuse to sign with what could be guessed."""
        if not keys or any(len(key) < KEY_BYTES for key in keys):
            raise ValueError(f"a signing key has at least {KEY_BYTES} bytes")
        self._keys = {_kid(key): key for key in keys}
        self._current = _kid(keys[-1])
        self._clock = clock

    def sign(self, claims: Claims) -> str:
        """Write an access token."""
        headers = {"kid": self._current}
        return jwt.encode(msgspec.to_builtins(claims), self._keys[self._current], ALGORITHM, headers=headers)

    def read(self, token: str) -> Claims:
        """Read an access token. Raises `token_invalid` or `token_expired`, and never says more."""
        if len(token) > _LONGEST:
            raise no_token()
        try:
            key = self._keys[str(jwt.get_unverified_header(token).get("kid"))]
            claims = msgspec.convert(jwt.decode(token, key, algorithms=[ALGORITHM], options=_OPTIONS), Claims)
        except (jwt.PyJWTError, KeyError, msgspec.ValidationError, ValueError):
            raise no_token() from None
        now = self._clock()
        if claims.iat > now + _SKEW:
            raise no_token()
        if claims.exp <= now:
            raise expired()
        return claims

    def refresh_token(self, refresh: Refresh) -> str:
        """Write a refresh token: made, not drawn, so that a repeated rotation gives the same successor."""
        return f"rt_{refresh.session}_{refresh.number}_{_mac(self._keys[self._current], refresh)}"

    def read_refresh(self, token: str) -> Refresh:
        """Read a refresh token. Raises `token_invalid`."""
        found = _REFRESH.fullmatch(token)
        if found is None:
            raise no_token()
        refresh = Refresh(found["session"], int(found["number"]))
        macs = [_mac(key, refresh) for key in self._keys.values()]
        if not any(hmac.compare_digest(mac, found["mac"]) for mac in macs):
            raise no_token()
        return refresh


def _kid(key: bytes) -> str:
    return hashlib.sha256(b"kid" + key).hexdigest()[:16]


def _mac(key: bytes, refresh: Refresh) -> str:
    return hmac.new(key, f"refresh/{refresh.session}/{refresh.number}".encode(), hashlib.sha256).hexdigest()
