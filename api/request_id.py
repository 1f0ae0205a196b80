"""Request ids: on every answer, every log line and every event, so that one word finds all that a request did."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Iterable
from typing import Final

HEADER: Final = b"x-request-id"
_SANE: Final = re.compile(rb"[\x21-\x7e]{1,128}")

# Unique over all processes by the drawn part, within one by the count: no system call a request.
_PROCESS: Final = secrets.token_hex(5)
_COUNT: Final = itertools.count(1)


def of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the caller's `X-Request-Id` when it is printable ASCII without spaces of at most 128, else a new one."""
    for name, value in headers:
        if name == HEADER:
            return value if _SANE.fullmatch(value) else new()
    return new()


def new() -> bytes:
    """Draw an id that no other request of any process has."""
    return b"req_%s%x" % (_PROCESS.encode(), next(_COUNT))
