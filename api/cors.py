"""Other origins: which pages of which sites may ask this api from a browser. None, unless the operator names them.

Tokens are sent in a header that the page itself sets, never by the browser of its own accord: credentials in the sense
of CORS are not allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from api.answer import Header

_ORIGIN: Final = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:.]+\](:[0-9]{1,5})?")
_SENT: Final = (
    b"Authorization, Content-Type, If-None-Match, Idempotency-Key, Last-Event-ID, X-HeroCtl-Index, X-HeroCtl-Token, "
    b"X-Request-Id"
)
_SHOWN: Final = (
    b"ETag, Idempotency-Replayed, Link, RateLimit, RateLimit-Policy, Retry-After, X-HeroCtl-At, X-HeroCtl-Index, "
    b"X-HeroCtl-Next-Cursor, X-HeroCtl-Scanned-To, X-HeroCtl-Stale, X-HeroCtl-Truncated-Before, X-Request-Id"
)
_REMEMBERED: Final = b"600"  # seconds


def problem(origin: str) -> str:
    """Say what is wrong with an origin; nothing: it is one, as browsers spell it."""
    if _ORIGIN.fullmatch(origin):
        return ""
    return f"{origin!r} is no origin: expected such as https://console.example.com, without a path"


class Cors:
    """Answers browsers for pages of these origins, and no others."""

    def __init__(self, origins: Iterable[str] = ()) -> None:
        self._origins = frozenset(origin.encode() for origin in origins)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._origins)

    def headers(self, request: Iterable[Header], methods: str = "") -> list[Header]:
        """Make the headers of an answer; with `methods`: of the answer to what a browser asks beforehand."""
        if not self._origins:
            return []
        given = dict(request)
        origin = given.get(b"origin", b"")
        vary: Header = (b"vary", b"origin")
        if origin not in self._origins:
            return [vary]
        made: list[Header] = [vary, (b"access-control-allow-origin", origin)]
        if not methods or b"access-control-request-method" not in given:
            return [*made, (b"access-control-expose-headers", _SHOWN)]
        return [
            *made,
            (b"access-control-allow-methods", methods.encode()),
            (b"access-control-allow-headers", _SENT),
            (b"access-control-max-age", _REMEMBERED),
        ]
