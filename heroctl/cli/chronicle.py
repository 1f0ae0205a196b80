"""What happened, as commands print it: a table of all that was, or one line for each that comes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Generic, NamedTuple, TypeVar

import msgspec

from heroctl.cli import output
from heroctl.cli.options import Output
from heroctl.cli.output import Grid

T = TypeVar("T")


class Chronicle(NamedTuple, Generic[T]):
    """How things of a kind are printed: their shape in the API, its columns, and what `-o name` says of one."""

    shape: type[T]
    titles: tuple[str, ...]
    row: Callable[[T], tuple[str, ...]]
    name: Callable[[T], str]

    def show(self, found: list[msgspec.Raw], form: Output) -> None:
        """Print all that was found."""
        if form in ("json", "yaml"):
            output.dump(b"[" + b",".join(map(bytes, found)) + b"]", form)
            return
        things = [self.read(raw) for raw in found]
        if form == "name":
            output.lines([self.name(each) for each in things])
        else:
            output.show([Grid(self.titles, [self.row(each) for each in things])])

    def tell(self, raw: msgspec.Raw, form: Output) -> None:
        """Print one that came."""
        if form in ("json", "yaml"):
            output.dump(bytes(raw), form, compact=True)
            return
        thing = self.read(raw)
        output.lines([self.name(thing) if form == "name" else "  ".join(self.row(thing))])

    def read(self, raw: msgspec.Raw) -> T:
        """Give one as it is meant."""
        return msgspec.json.decode(raw, type=self.shape)


def stamp(time: datetime) -> str:
    """Write a time to the second, in UTC."""
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
