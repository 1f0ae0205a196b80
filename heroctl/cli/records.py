"""Records of the log: read page by page, and each shown as a line."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC
from typing import Any, Final

import msgspec

from heroctl.cli import output
from heroctl.cli.client import Client, decode, path
from heroctl.cli.reading import patiently
from heroctl.cli.shapes import Record

PAGE: Final = 1000
_BEYOND: Final = 10**18 - 1  # an index that no log has
_WAIT_S: Final = 300
_WIDEST: Final = 60  # characters of a value in a line
# What a line says first, or what tells people nothing.
_NAMED: Final = ("name", "job")
_UNTOLD: Final = {"namespace", "uid", "spec", "tasks", "content", "n", "cpu", "memory", "disk", "credential"}


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def head(client: Client) -> int:
    """Return the index at which the log ends now."""
    return client.get(path("log"), {"after": _BEYOND, "limit": 1}).index


def pages(client: Client, after: int, *, follow: bool) -> Iterator[list[tuple[msgspec.Raw, Record]]]:
    """Give the events after an index, to the end of the log; with `follow` for ever, as they come."""
    while True:
        query = {"after": after, "limit": PAGE, "wait": f"{_WAIT_S}s" if follow else None}
        answer = patiently(lambda query=query: client.ask("GET", path("log"), query=query, timeout=_WAIT_S + 30))  # type: ignore[misc] # the default binds this round's query
        records = decode(answer, list[Record], client.caller)
        if records:
            yield list(zip(msgspec.json.decode(answer.raw, type=list[msgspec.Raw]), records, strict=True))
            after = records[-1].index
        elif not follow:
            return


# ── showing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def tell(record: Record) -> None:
    """Print an event as a line."""
    cells = [str(cell) for cell in line(record)]
    if output.fancy(sys.stdout):
        index, time, kind, actor, told = cells
        output.lines([f"{index:>8}  {time}  {kind:<24} {actor:<18} {told}"])
    else:
        sys.stdout.write("\t".join(map(output.clean, cells)) + "\n")


def line(record: Record) -> Sequence[str | int]:
    """Say an event in five words: index, time, type, actor, and what it was about."""
    return record.index, exact(record), record.type, record.actor or "-", summary(record)


def exact(record: Record) -> str:
    """Spell a time to the millisecond: in an incident they count."""
    return record.time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def summary(record: Record) -> str:
    """Say what an event was about: the thing's name, and what else it says in plain words."""
    data = data_of(record)
    if record.opaque is not None:
        return "this API cannot read it"
    subject = _subject(data)
    words = [subject] if subject else []
    flat = {**data, **report} if isinstance(report := data.get("report"), dict) else data
    for word, value in flat.items():
        if word in _UNTOLD or (subject and word in _NAMED) or value in ("", None):
            continue
        if isinstance(value, str | int | float):
            words.append(f"{word}={str(value)[:_WIDEST]}")
        elif isinstance(value, list) and value and all(isinstance(each, str) for each in value):
            words.append(f"{word}={', '.join(value)[:_WIDEST]}")
    return " ".join(words)


def _subject(data: dict[str, Any]) -> str:
    name = next((str(data[word]) for word in _NAMED if data.get(word)), "")
    return f"{data['namespace']}/{name}" if name and data.get("namespace") else ""


def data_of(record: Record) -> dict[str, Any]:
    """Read what an event says."""
    value = msgspec.json.decode(record.data)
    return value if isinstance(value, dict) else {}
