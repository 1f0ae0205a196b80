"""Pages of a list: `limit` and `cursor`, and the way to the next page.

A cursor names the place of the last thing that was given, by what the list is sorted by: whatever is written
meanwhile, nothing that stood there the whole time is left out, and nothing comes twice. It is signed together with
what was asked: another list's cursor, or one that somebody made up, is refused.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct

from api.call import number
from heroctl.domain.errors import Invalid, Problem

if TYPE_CHECKING:
    from api.answer import Header
    from api.idempotency import Marks

PAGING: Final = ("limit", "cursor")
MOST: Final = 10_000
NEXT: Final = b"x-heroctl-next-cursor"
_MAC: Final = 9
_LONGEST: Final = 1024

Place = list[Any]  # numbers and words, by which a list is sorted


class Asked(Struct, frozen=True):
    """A list that is asked for: its path and the filters, without index, wait, limit and cursor."""

    path: str
    filters: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, path: str, args: Mapping[str, str]) -> Asked:
        """Take the filters out of a query's arguments."""
        passed = (*PAGING, "index", "wait")
        return cls(path, tuple(sorted(pair for pair in args.items() if pair[0] not in passed)))


def limit_of(args: Mapping[str, str], most: int = MOST) -> int | None:
    """Read `limit`. Raises `invalid_limit`."""
    limit = number(args, "limit")
    if limit is not None and not 1 <= limit <= most:
        problem = Problem("limit", "invalid_limit", f"1 to {most}")
        raise Invalid("invalid_limit", f"limit: {problem.message}", details=(problem,))
    return limit


def place_of(marks: Marks, asked: Asked, args: Mapping[str, str]) -> Place | None:
    """Read `cursor`; None: from the beginning. Raises `invalid_cursor`."""
    text = args.get("cursor")
    if text is None:
        return None
    try:
        raw = base64.b64decode(text[:_LONGEST].encode("ascii"), altchars=b"-_", validate=True)
        place = msgspec.json.decode(raw[_MAC:], type=list[int | str])
    except (binascii.Error, UnicodeError, ValueError):
        raise _invalid() from None
    if not marks.signed(_words(asked, place), raw[:_MAC]):
        raise _invalid()
    return place


def cursor_at(marks: Marks, asked: Asked, place: Place) -> bytes:
    """Write the cursor of a place."""
    raw = marks.sign(_words(asked, place), _MAC) + msgspec.json.encode(place)
    return base64.urlsafe_b64encode(raw + b" " * (-len(raw) % 3))  # so that there is nothing to be escaped


def next_page(marks: Marks, asked: Asked, place: Place, limit: int | None) -> list[Header]:
    """Make the headers that lead to what comes after a place."""
    cursor = cursor_at(marks, asked, place)
    given = [*asked.filters, *([("limit", str(limit))] if limit else []), ("cursor", cursor.decode())]
    target = f"{quote(asked.path, safe='/:@')}?{urlencode(given, quote_via=quote)}"
    return [(NEXT, cursor), (b"link", b'<%b>; rel="next"' % target.encode())]


def _words(asked: Asked, place: Place) -> object:
    return [asked.path, asked.filters, place]


def _invalid() -> Invalid:
    message = "this is no cursor of this list with these filters: begin without one"
    return Invalid("invalid_cursor", f"cursor: {message}", details=(Problem("cursor", "invalid_cursor", message),))
