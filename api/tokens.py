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
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec
from jwt import PyJWS
from jwt.utils import base64url_decode, base64url_encode
from msgspec import Struct

from api.access import expired, no_token
from heroctl.document import json_of
from heroctl.domain.errors import Invalid

ALGORITHM: Final = "HS256"
ISSUER: Final = "heroctl"
AUDIENCE: Final = "heroctl/v1"
KEY_BYTES: Final = 32
LIFE: Final = 24 * 3600  # seconds of an access token
MARGIN: Final = 3600  # seconds for which a process may not have heard that there is a newer key
_SKEW: Final = 5  # seconds that another process's clock may be ahead
_OPAQUE: Final = re.compile(r"(?P<kind>ht|hn|hj)_(?P<id>[a-z0-9]{1,64})_(?P<secret>[0-9a-f]{64})")
_REFRESH: Final = re.compile(r"rt_(?P<session>[0-9a-f]{32})_(?P<number>0|[1-9][0-9]{0,8})_(?P<mac>[0-9a-f]{64})")
_LONGEST: Final = 4096
_HEADER: Final = re.compile(rb'\{"alg":"HS256","kid":"[0-9a-f]{16}","typ":"JWT"\}')
_JWS: Final = PyJWS()


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
    crd: str = ""  # the vault row of the password that it was made by; with another one it is over
    iss: str = ISSUER
    aud: str = AUDIENCE
    nbf: int = 0


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


class SigningKey(NamedTuple):
    """A key that signs tokens. `retired`: since when (seconds since the epoch) a newer one signs in its place."""

    secret: bytes
    retired: float | None = None


class Keys:
    """The signing keys, newest last: it signs, all of them verify. `clock` gives seconds since the epoch.

    A token is good if it is, letter for letter, what would be written for its claims: nothing that somebody else wrote
    into its header is ever acted upon, and no other spelling of it passes.
    """

    def __init__(self, keys: Sequence[SigningKey], clock: Callable[[], float]) -> None:
        """Refuse to sign with what could be guessed."""
        self._clock = clock
        self.take(keys)

    def take(self, keys: Sequence[SigningKey]) -> None:
        """Know these keys from here on, and no others."""
        if not keys or any(len(key.secret) < KEY_BYTES for key in keys):
            raise ValueError(f"a signing key has at least {KEY_BYTES} bytes")
        self._keys = tuple(keys)
        self._by_header = {_header(key_id(key.secret)): key for key in keys}

    @property
    def all(self) -> tuple[SigningKey, ...]:
        """The keys, newest last."""
        return self._keys

    @property
    def headers(self) -> frozenset[str]:
        """What the tokens begin with that these keys have signed; another set where a key came or went."""
        return frozenset(self._by_header)

    def sign(self, claims: Claims) -> str:
        """Write an access token."""
        return _signed(msgspec.json.encode(claims), self._keys[-1].secret)

    def read(self, token: str) -> Claims:
        """Read an access token. Raises `token_invalid` or `token_expired`, and never says more."""
        now = self._clock()
        header, _, rest = token.partition(".")
        key = self._by_header.get(header) if len(token) <= _LONGEST else None
        if key is None or (key.retired is not None and now > key.retired + LIFE + MARGIN):
            raise no_token()
        try:
            payload = base64url_decode(rest.partition(".")[0])
        except ValueError:
            raise no_token() from None
        if not equal(_signed(payload, key.secret).encode(), token.encode()):
            raise no_token()
        claims = _claims(payload, now)
        if claims.exp <= now:
            raise expired()
        return claims

    def may_be_news(self, token: str) -> bool:
        """Tell whether a token looks as if it was signed with a key that is not known here yet."""
        header = token.partition(".")[0]
        if len(header) != _HEADER_LENGTH or header in self._by_header:
            return False
        try:
            return _HEADER.fullmatch(base64url_decode(header)) is not None
        except ValueError:
            return False

    def refresh_token(self, refresh: Refresh) -> str:
        """Write a refresh token: made, not drawn, so that a repeated rotation gives the same successor."""
        return f"rt_{refresh.session}_{refresh.number}_{_mac(self._keys[-1].secret, refresh)}"

    def read_refresh(self, token: str) -> Refresh | None:
        """Read a refresh token. None: it was signed with no key that is known here. Raises `token_invalid`."""
        found = _REFRESH.fullmatch(token)
        if found is None:
            raise no_token()
        refresh = Refresh(found["session"], int(found["number"]))
        macs = [_mac(key.secret, refresh) for key in self._keys]
        return refresh if any(hmac.compare_digest(mac, found["mac"]) for mac in macs) else None


def _signed(payload: bytes, key: bytes) -> str:
    return _JWS.encode(payload, key, ALGORITHM, headers={"kid": key_id(key)})


def _claims(payload: bytes, now: float) -> Claims:
    """Read the claims of a token that was rightly signed, maybe by somebody else who has the key."""
    try:
        document = json_of(payload)
        claims = msgspec.convert(document, Claims)
    except (Invalid, msgspec.ValidationError):
        raise no_token() from None
    said = {name: document.get(name) for name in ("iss", "aud")}
    if said != {"iss": ISSUER, "aud": AUDIENCE} or claims.exp - claims.iat > LIFE:
        raise no_token()
    if max(claims.iat, claims.nbf) > now + _SKEW:
        raise no_token()
    return claims


def key_id(key: bytes) -> str:
    """Name a key without telling it: the `kid` of what it signs."""
    return hashlib.sha256(b"kid" + key).hexdigest()[:16]


def _header(kid: str) -> str:
    return base64url_encode(b'{"alg":"HS256","kid":"%b","typ":"JWT"}' % kid.encode()).decode()


def _mac(key: bytes, refresh: Refresh) -> str:
    return hmac.new(key, f"refresh/{refresh.session}/{refresh.number}".encode(), hashlib.sha256).hexdigest()


_HEADER_LENGTH: Final = len(_header("0" * 16))
