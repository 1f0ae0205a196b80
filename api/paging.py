"""Pages of a list: `limit` and `cursor`, and the way to the next page.

A page is cut out of the list as everybody gets it who may see the same: no reader has to know. A cursor names the place
of the last thing that was given, by what the list is sorted by: whatever is written meanwhile, nothing that stood there
the whole time is left out, and nothing comes twice. It is signed together with what was asked: another list's cursor,
or one that somebody made up, is refused.
"""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct

from api.answer import Answer
from api.query import number
from api.reads import Page, tag_of
from api.wire import joined
from heroctl.domain.errors import Invalid, Problem

if TYPE_CHECKING:
    from api.answer import Header
    from api.marks import Marks

PAGING: Final = ("limit", "cursor")
MOST: Final = 1000
NEXT: Final = b"x-heroctl-next-cursor"
_MAC: Final = 9
_LONGEST: Final = 1024
_BESIDE: Final = frozenset({*PAGING, "index", "wait", "at"})  # what does not choose what is in a list

Place = list[Any]  # numbers and words, by which a list is sorted


class Asked(Struct, frozen=True):
    """A list that is asked for: its path and its filters. As of when is none of them: a cursor is good for any time."""

    path: str
    filters: tuple[tuple[str, str], ...]
    order: tuple[str, ...] = ()  # the fields that it is sorted by, `-`: backwards

    @classmethod
    def of(cls, path: str, args: Mapping[str, str], order: tuple[str, ...] = ()) -> Asked:
        """Take the filters out of a query's arguments."""
        return cls(path, tuple(sorted(pair for pair in args.items() if pair[0] not in _BESIDE)), order)


class Wanted(Struct, frozen=True):
    """A page that is asked for: what comes after a place, so many things at most."""

    asked: Asked
    after: Place | None
    limit: int | None


def wanted(marks: Marks, path: str, args: dict[str, str], order: tuple[str, ...]) -> Wanted | None:
    """Take `limit` and `cursor` out of a query; None: the whole list. Raises `invalid_limit` or `invalid_cursor`."""
    if not args.keys() & set(PAGING):
        return None
    asked = Asked.of(path, args, order)
    found = Wanted(asked, place_of(marks, asked, args), limit_of(args))
    for name in PAGING:
        args.pop(name, None)
    return found


def cut(marks: Marks, wanted: Wanted, page: Page, at: int | None = None) -> Page:
    """Cut a page out of a whole list. `at`: it is as of that index, and what comes after is to be, too."""
    places, items = _split(page.answer.body, wanted.asked.order)
    start = 0 if wanted.after is None else bisect_right(places, wanted.after)
    stop = len(items) if wanted.limit is None else start + wanted.limit
    body = joined(items[start:stop])
    more: list[Header] = []
    if stop < len(items):
        more = next_page(marks, wanted.asked, places[stop - 1], wanted.limit, at)
    tag = tag_of(body + b"".join(value for _, value in more))
    own = [header for header in page.answer.headers if header[0] not in (b"etag", b"content-length", b"content-type")]
    made = Answer(body, headers=[(b"etag", tag), *more])
    names = {name for name, _ in made.headers}
    made.headers += [header for header in own if header[0] not in names]
    return Page(made, tag, page.topic, page.index, page.until)


@lru_cache(maxsize=4)
def _split(body: bytes, order: tuple[str, ...]) -> tuple[list[Place], list[bytes]]:
    """Take a list apart: the place of each thing, and the thing. Whoever goes from page to page has it done once."""
    fields = [(name.lstrip("-"), name.startswith("-")) for name in order]
    kind = msgspec.defstruct("Placed", [(name, Any) for name, _ in fields])
    places = [
        [-getattr(each, name) if backwards else getattr(each, name) for name, backwards in fields]
        for each in msgspec.json.decode(body, type=list[kind])  # type: ignore[valid-type] # made just now
    ]
    return places, [bytes(item) for item in msgspec.json.decode(body, type=list[msgspec.Raw])]


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


def next_page(marks: Marks, asked: Asked, place: Place, limit: int | None, at: int | None = None) -> list[Header]:
    """Make the headers that lead to what comes after a place."""
    cursor = cursor_at(marks, asked, place)
    beside = {"at": at, "limit": limit, "cursor": cursor.decode()}
    given = [*asked.filters, *((name, str(value)) for name, value in beside.items() if value is not None)]
    target = f"{quote(asked.path, safe='/:@')}?{urlencode(given, quote_via=quote)}"
    return [(NEXT, cursor), (b"link", b'<%b>; rel="next"' % target.encode())]


def _words(asked: Asked, place: Place) -> object:
    return [asked.path, asked.filters, asked.order, place]


def _invalid() -> Invalid:
    message = "this is no cursor of this list with these filters: begin without one"
    return Invalid("invalid_cursor", f"cursor: {message}", details=(Problem("cursor", "invalid_cursor", message),))
