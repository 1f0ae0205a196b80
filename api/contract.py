"""What a handler tells of itself: the body that it takes, the shape of its answers, and the refusals of its own.

It stands on the handler, where those are made; the docstring tells the rest. What every route of a kind may refuse is
not told by each: `api.openapi` derives it from the row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from msgspec import Struct

H = TypeVar("H", bound=Callable[..., Any])

JSON: Final = "application/json"
TEXT: Final = "text/plain"
LINES: Final = "application/x-ndjson"
STREAM: Final = "text/event-stream"


class Told(Struct, frozen=True):
    """What a handler told. `answer` and `body` are types whose JSON is meant; `body` None: it takes none."""

    answer: Any
    codes: tuple[str, ...] = ()
    body: Any = None
    status: tuple[int, ...] = (200,)
    media: str = JSON
    tagged: bool = False  # whether it has an ETag and answers 304; reads of state do without a word
    writes: bool = True  # for methods other than GET: whether it appends to the log
    also: tuple[str, ...] = ()  # other media that it answers in, where that is asked for


NOTHING: Final = Told(Any, status=(200, 201))  # what is said of a handler that tells nothing
_TOLD: Final[dict[object, Told]] = {}


def tells(
    answer: Any,  # noqa: ANN401 - a type
    *codes: str,
    body: Any = None,  # noqa: ANN401 - a type
    status: int | tuple[int, ...] = 200,
    media: str = JSON,
    tagged: bool = False,
    writes: bool = True,
    also: tuple[str, ...] = (),
) -> Callable[[H], H]:
    """Say what a handler answers, and with which codes of its own it refuses."""
    statuses = status if isinstance(status, tuple) else (status,)

    def keep(handler: H) -> H:
        _TOLD[handler] = Told(answer, codes, body, statuses, media, tagged, writes, also)
        return handler

    return keep


def told_by(handler: object) -> Told | None:
    """Give what a handler told; None: it told nothing."""
    return _TOLD.get(handler)
