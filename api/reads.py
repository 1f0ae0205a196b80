"""Reads: what a GET of state is made of, and the pages that all who ask the same share.

A reader turns a query into a `Reading`: the topic that its answer stands on, and how to make the body. A page is made
once per (query, index of the topic) and sent to everybody. What changes without an event (a node's beats) lives for
a second at most.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeVar

from msgspec import Struct

from api.answer import Answer
from heroctl.domain.policy import Scope

if TYPE_CHECKING:
    from api.world import Sight, World

R = TypeVar("R")

A_SECOND: Final = 1.0
_MOST_PAGES: Final = 4096
_MOST_BYTES: Final = 256 << 20


class Query:
    """What is asked: words of the path, and arguments other than `index` and `wait`; and how far the asker may see.

    A reader takes `sees` and passes by what that denies. An answer for which nobody took it is never given.
    """

    __slots__ = ("args", "judged", "path", "scope")

    def __init__(self, path: Mapping[str, str], args: Mapping[str, str], scope: Scope) -> None:
        self.path = path
        self.args = args
        self.scope = scope
        self.judged = False

    @property
    def sees(self) -> Callable[..., bool]:
        """What tells whether the asker may see a thing: by namespace and job, or by its name."""
        self.judged = True
        return self._sees

    def _sees(self, place: str, job: str | None = None) -> bool:
        return all(reach.covers(place, job) for reach in self.scope)

    @property
    def namespace(self) -> str:
        """The namespace of a single thing."""
        return self.args.get("namespace", "default")

    def passes(self, name: str, value: str) -> bool:
        """Tell whether a value is what the filter of this name asks for, if it is given at all."""
        return self.args.get(name, value) == value


class Reading(NamedTuple):
    """The topic that an answer stands on, and its body; `make` raises NotFound where there is no such thing (now)."""

    topic: str
    make: Callable[[], bytes]
    fresh: float = math.inf  # seconds that a page may be shared while its topic stands still


class Reader(Protocol):
    """A GET of state. Raises a Refusal for a query that cannot be answered."""

    def __call__(self, world: World, query: Query, /) -> Reading:
        """Say what the answer stands on, and how to make it."""
        ...


class PastReader(Protocol):
    """A reader that needs no more than can be known of the past, too."""

    def __call__(self, world: Sight, query: Query, /) -> Reading:
        """See Reader."""
        ...


class Page(Struct, frozen=True, gc=False):
    """A body as of an index, ready to be sent."""

    answer: Answer
    tag: bytes  # the ETag
    topic: str
    index: int
    until: float  # of the loop's clock


def tag_of(body: bytes) -> bytes:
    """Make the ETag of a body."""
    return b'"%s"' % blake2b(body, digest_size=12).hexdigest().encode()


class Pages:
    """Keeps the newest page of each query. `index_of` gives a topic's index, `now` the loop's clock."""

    def __init__(self, index_of: Callable[[str], int], now: Callable[[], float]) -> None:
        self._index_of = index_of
        self._now = now
        self._pages: dict[object, Page] = {}
        self._bytes = 0

    def find(self, key: object) -> Page | None:
        """Give the page of a query if it is still what would be made now."""
        page = self._pages.get(key)
        if page is not None and page.index == self._index_of(page.topic) and self._now() < page.until:
            return page
        return None

    def page(self, key: object, reading: Reading) -> Page:
        """Give the page of a query, made if need be."""
        return self.find(key) or self._make(key, reading)

    def _make(self, key: object, reading: Reading) -> Page:
        index = self._index_of(reading.topic)
        body = reading.make()
        tag = tag_of(body)
        page = Page(
            Answer(body, index=index, headers=[(b"etag", tag)]), tag, reading.topic, index, self._now() + reading.fresh
        )
        old = self._pages.pop(key, None)
        self._bytes += len(body) - (len(old.answer.body) if old else 0)
        if len(self._pages) >= _MOST_PAGES or self._bytes > _MOST_BYTES:
            self.clear()
            self._bytes = len(body)
        self._pages[key] = page
        return page

    def clear(self) -> None:
        """Forget everything: the history is another one."""
        self._pages.clear()
        self._bytes = 0
