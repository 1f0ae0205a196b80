"""Printing: data on stdout, everything else on stderr.

On a terminal: aligned columns, colour (unless NO_COLOR), ages. Piped: tab-separated columns, no colour, times in full,
so that `cut`, `awk` and diffs work. Nothing that a server says reaches a terminal with control characters in it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TextIO

import msgspec

from heroctl.cli.faults import Fault
from heroctl.cli.options import Output

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_STEERING: Final = re.compile(r"[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")  # what JSON may hold as it is
_GOOD: Final = {"running", "healthy", "ready", "ok", "successful", "eligible", "yes", "complete"}
_BAD: Final = {"fail", "failed", "unhealthy", "down", "lost", "no", "reverted"}
_DOUBTFUL: Final = {
    "pending",
    "starting",
    "stopping",
    "blocked",
    "draining",
    "degraded",
    "ineligible",
    "warn",
    "paused",
    "awaiting_promotion",
}

_SIGNS: Final = {"+ ": "\x1b[32m", "- ": "\x1b[31m", "~ ": "\x1b[33m"}
_OFF: Final = "\x1b[0m"

Cell = str | int | float | datetime | None


class Grid(NamedTuple):
    """Rows under titles."""

    titles: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]


class Facts(NamedTuple):
    """Words and their values, one a line; without a value the line is left out."""

    rows: Sequence[tuple[str, Cell]]


Sheet = Sequence[Grid | Facts]


def note(text: str) -> None:
    """Say something beside the data."""
    sys.stderr.write(clean(text, keep="\n") + "\n")
    sys.stderr.flush()


def clean(text: str, keep: str = "") -> str:
    """Take out what could steer a terminal or break a column."""
    return _CONTROL.sub(lambda found: found[0] if keep and set(found[0]) <= set(keep) else " ", text)


def fancy(stream: TextIO) -> bool:
    """Tell whether people look at this stream: a terminal that can place its cursor."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def colourful(stream: TextIO) -> bool:
    """Tell whether to colour: people look, and none of them said NO_COLOR."""
    return fancy(stream) and not os.environ.get("NO_COLOR")


def show(sheet: Sheet) -> None:
    """Print a sheet in the way that stdout wants it."""
    if fancy(sys.stdout):
        _show_people(sheet)
    else:
        sys.stdout.write("\n".join(_plain(block) for block in sheet if not _empty(block)))
    sys.stdout.flush()


def dump(raw: bytes, output: Output, *, compact: bool = False) -> None:
    """Print a body as it came: JSON (one line if `compact`, or piped into a program that wants lines) or YAML."""
    if output == "yaml":
        text = ("---\n" if compact else "") + _yaml(msgspec.json.decode(raw))
    else:
        text = msgspec.json.format(raw, indent=0 if compact else 2).decode() + "\n"
        text = _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)  # the same JSON: it stands in strings alone
    sys.stdout.write(text)
    sys.stdout.flush()


def lines(texts: Sequence[str]) -> None:
    """Print names, one a line."""
    sys.stdout.write("".join(f"{clean(text)}\n" for text in texts))
    sys.stdout.flush()


def patch(texts: Sequence[str]) -> None:
    """Print lines of which some begin with +, - or ~: in their colours, where people look."""
    loud = colourful(sys.stdout)
    for text in texts:
        colour = _SIGNS.get(text.strip()[:2], "") if loud else ""
        sys.stdout.write(f"{colour}{clean(text)}{_OFF if colour else ''}\n")
    sys.stdout.flush()


def fault(problem: Fault) -> None:
    """Print what went wrong, its code and request id, and what to do next."""
    loud = colourful(sys.stderr)
    bold, dim, off = ("\x1b[1;31m", "\x1b[2m", "\x1b[0m") if loud else ("", "", "")
    text = [f"{bold}error:{off} {clean(problem.message)}"]
    for each in problem.problems:
        first, *rest = (each.message or each.code).splitlines() or [""]
        text.append(f"  {clean(each.path or '(spec)')}: {clean(first)}")
        text += [f"    {dim}|{off} {clean(line)}" for line in rest]
    text += [f"  {dim}{word}:{off} {clean(value)}" for word, value in problem.facts]
    text += [f"  {dim}next:{off} {clean(hint)}" for hint in problem.hints]
    sys.stderr.write("\n".join(text) + "\n")


def size(count: float) -> str:
    """Spell bytes as people read them."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def age(then: datetime, now: datetime) -> str:
    """Spell how long ago: `42s`, `5m`, `3h12m`, `8d`."""
    seconds = max(0, int((now - then).total_seconds()))
    if seconds < 120:
        return f"{seconds}s"
    if seconds < 7200:
        return f"{seconds // 60}m"
    if seconds < 172_800:
        return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"
    return f"{seconds // 86_400}d"


def _empty(block: Grid | Facts) -> bool:
    return isinstance(block, Facts) and not _given(block)


def _given(block: Facts) -> list[tuple[str, Cell]]:
    return [(word, value) for word, value in block.rows if value not in (None, "")]


def _plain(block: Grid | Facts) -> str:
    if isinstance(block, Facts):
        return "".join(f"{word}\t{_spelled(value)}\n" for word, value in _given(block))
    rows = [block.titles, *([_spelled(cell) for cell in row] for row in block.rows)]
    return "".join("\t".join(row) + "\n" for row in rows)


def _spelled(cell: Cell) -> str:
    if isinstance(cell, datetime):
        return cell.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return clean(str(cell)) if cell is not None else ""


def _show_people(sheet: Sheet) -> None:
    from rich.console import Console
    from rich.padding import Padding

    console = Console(file=sys.stdout, highlight=False, no_color=not colourful(sys.stdout))
    blocks = [block for block in sheet if not _empty(block)]
    for at, block in enumerate(blocks):
        console.print(Padding(_drawn(block), (1 if at else 0, 0, 0, 0)), soft_wrap=False)


def _drawn(block: Grid | Facts) -> Any:  # noqa: ANN401 - a rich table; rich is imported only when people look
    from rich.table import Table
    from rich.text import Text

    now = datetime.now(UTC)
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=isinstance(block, Grid))
    if isinstance(block, Facts):
        table.add_column(style="dim")
        table.add_column()
        rows: Sequence[Sequence[Cell]] = _given(block)
    else:
        for title in block.titles:
            table.add_column(title, overflow="fold")
        rows = block.rows
    for row in rows:
        cells = [age(cell, now) if isinstance(cell, datetime) else _spelled(cell) for cell in row]
        table.add_row(*(Text(text, style=_style(text)) for text in cells))
    return table


def _style(text: str) -> str:
    word = text.partition(" ")[0].rstrip(",:")
    if word in _GOOD:
        return "green"
    return "red" if word in _BAD else "yellow" if word in _DOUBTFUL else ""


def _yaml(value: Any) -> str:  # noqa: ANN401 - any JSON
    import yaml

    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=False)
