"""What an api asks the child that answers what was, and what it is told: lines of JSON; see `api.historian`."""

from __future__ import annotations

from msgspec import Struct

from heroctl.domain.errors import Gone, Problem
from heroctl.domain.policy import Scope


class Orders(Struct, frozen=True):
    """Where the log is."""

    dsn: str
    direct: str = ""


class Question(Struct, frozen=True):
    """Which reader, with which words and arguments, as of the end of which append."""

    reader: str
    path: dict[str, str]
    args: dict[str, str]
    scope: Scope  # how far the asker may see
    index: int


class Told(Struct, frozen=True):
    """How it went: a body of so many bytes follows, or this refusal is the answer."""

    size: int = 0
    status: int = 200
    code: str = ""
    message: str = ""
    details: tuple[Problem, ...] = ()
    retry_after: int | None = None


def name_of(reader: object) -> str:
    """Name a reader, as a question does."""
    return f"{getattr(reader, '__module__', '')}.{getattr(reader, '__qualname__', '')}"


def compacted(floor: int) -> Gone:
    """Refuse a moment from which nothing is kept."""
    return Gone("index_compacted", f"what was before index {floor} is not kept any more: ask for {floor} or later")
