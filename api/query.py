"""The query string of a request: its arguments, each once and known to the route, and the numbers among them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import parse_qsl

from heroctl.domain.errors import Invalid, Problem

_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_MOST_ARGUMENTS: Final = 20
LISTS: Final = frozenset({"topic"})  # arguments that mean several


def number(args: Mapping[str, str], name: str) -> int | None:
    """Read a whole number, 0 or more, of a query. Raises `invalid_<name>`."""
    text = args.get(name)
    if text is None:
        return None
    if _NUMBER.fullmatch(text) is None:
        problem = Problem(name, f"invalid_{name}", "expected a whole number, 0 or more")
        raise Invalid(f"invalid_{name}", f"{name}: {problem.message}", details=(problem,))
    return int(text)


def arguments(query: bytes, known: Iterable[str]) -> dict[str, str]:
    """Read a query string. Raises Invalid for a name that stands twice, or that the route does not know.

    A filter that is passed over would answer another question; those of LISTS may stand again, and are put together
    with commas.
    """
    if not query:
        return {}
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_ARGUMENTS
        )
    except ValueError:
        raise Invalid("invalid_query", "the query string cannot be read") from None
    args: dict[str, str] = {}
    for name, value in pairs:
        if name in args and name not in LISTS:
            raise Invalid("invalid_query", "a name stands twice in the query string")
        args[name] = f"{args[name]},{value}" if name in args else value
    if any("\0" in value for value in args.values()):
        raise Invalid("invalid_query", "no argument holds a NUL")  # and the database takes none
    for name in args:
        if name not in known:
            problem = Problem(name, "unknown_parameter", f"known here: {', '.join(sorted(known)) or 'none'}")
            raise Invalid("unknown_parameter", f"there is no parameter '{name}' here", details=(problem,))
    return args
