"""Words: one copy of each text, however many records hold it.

A fold takes a job's name from the job for each of its allocations. What is read back from bytes has a copy of its own
in each record, many times over; `Words` brings that down to one.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from operator import attrgetter
from types import NoneType, UnionType
from typing import Annotated, Any

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr

Share = Callable[[Any], Any]


class Words:
    """The texts met so far."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._kinds: dict[Any, Share | None] = {}

    def sharer(self, kind: Any) -> Share | None:  # noqa: ANN401 - a type
        """Return what gives a value of a type back with its texts shared; None: a type without texts.

        Structs are changed in place, before anybody else has them; what else holds texts is made anew.
        """
        if kind not in self._kinds:
            self._kinds[kind] = self._made(kind)
        return self._kinds[kind]

    def _made(self, kind: Any) -> Share | None:  # noqa: ANN401 - a type
        origin, parts = typing.get_origin(kind), typing.get_args(kind)
        if kind is str:
            return self._word
        if isinstance(kind, type) and issubclass(kind, Struct):
            return self._record(kind)
        if origin is Annotated:
            return self.sharer(parts[0])
        if origin is dict:
            items = self._row(parts)
            return items and (lambda found: dict(map(items, found.items())))
        if origin is tuple and parts[-1:] == (...,):
            part = self.sharer(parts[0])
            return part and (lambda found: tuple(map(part, found)))
        if origin is tuple:
            return self._row(parts)
        if origin in {typing.Union, UnionType} and NoneType in parts:
            return self._optional(*(part for part in parts if part is not NoneType))
        return None

    def _word(self, text: str) -> str:
        return self._known.setdefault(text, text)

    def _record(self, kind: type[Struct]) -> Share | None:
        fields = [(field.name, self.sharer(field.type)) for field in msgspec.structs.fields(kind)]
        shares = [(attrgetter(name), name, share) for name, share in fields if share is not None]

        def shared(record: Struct) -> Struct:
            for get, name, share in shares:
                if value := get(record):
                    force_setattr(record, name, share(value))
            return record

        return shared if shares else None

    def _row(self, parts: tuple[Any, ...]) -> Share | None:
        shares = [self.sharer(part) for part in parts]
        if not any(shares):
            return None
        return lambda found: tuple(
            [value if share is None else share(value) for share, value in zip(shares, found, strict=True)]
        )

    def _optional(self, *parts: Any) -> Share | None:  # noqa: ANN401 - types
        share = self.sharer(parts[0]) if len(parts) == 1 else None
        return share and (lambda found: None if found is None else share(found))
