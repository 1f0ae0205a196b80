"""What a bench gives: rows with a name, a value and a unit, some of them with a bar; and the tables made of them."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

_ABOUT: Final = ("granian", "litestar", "msgspec", "psycopg", "redis", "uvloop")


class Gauge(Struct, frozen=True):
    """A figure that a case promises to give: its name and unit, and the bar it has to pass, if any."""

    name: str
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def bar(self) -> str:
        """The bar as people read it."""
        if self.at_most is not None:
            return f"≤ {number(self.at_most)}"
        return f"≥ {number(self.at_least)}" if self.at_least is not None else ""

    def passed(self, value: float) -> bool:
        """Tell whether a value passes; without a bar every value does."""
        if self.at_most is not None and value > self.at_most:
            return False
        return self.at_least is None or value >= self.at_least


class Case(Struct, frozen=True):
    """Some gauges read in one run. `run` gives a value for each of them, or raises."""

    gauges: tuple[Gauge, ...]
    run: Callable[[Callable[[str], None]], Mapping[str, float]]
    method: str  # how, in a sentence or two, for the reader of the table


class Row(Struct, frozen=True, omit_defaults=True):
    """One line of the result."""

    name: str
    value: float
    unit: str
    bar: str = ""
    ok: bool = True


class Failure(Struct, frozen=True):
    """A row that could not be measured, and why."""

    name: str
    reason: str


class Result(Struct):
    """All that a run gave. `load`: how busy the machine was before, as processes that wanted a core (1 minute)."""

    load: float = msgspec.field(default_factory=lambda: os.getloadavg()[0])
    rows: list[Row] = msgspec.field(default_factory=list)
    failures: list[Failure] = msgspec.field(default_factory=list)

    @property
    def code(self) -> int:
        """The exit code: 2 where something could not be measured, 1 where a bar was missed."""
        if self.failures:
            return 2
        return 0 if all(row.ok for row in self.rows) else 1


def number(value: float) -> str:
    """Write a figure with three digits that mean something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(result: Result) -> str:
    """Write the rows as a Markdown table."""
    lines = ["| row | value | unit | bar | |", "|---|---:|---|---|---|"]
    for row in result.rows:
        verdict = ("met" if row.ok else "**missed**") if row.bar else ""
        lines.append(f"| `{row.name}` | {number(row.value)} | {row.unit} | {row.bar} | {verdict} |")
    lines += [f"| `{failure.name}` | - | | | **not measured**: {failure.reason} |" for failure in result.failures]
    return "\n".join(lines)


def encode(rows: Iterable[Row]) -> bytes:
    """Write the rows as a JSON array; rows that could not be measured are not in it."""
    plain: list[dict[str, Any]] = []
    for row in rows:
        line = {"name": row.name, "value": row.value, "unit": row.unit}
        plain.append(line | ({"bar": row.bar, "ok": row.ok} if row.bar else {}))
    return msgspec.json.format(msgspec.json.encode(plain)) + b"\n"


def document(title: str, result: Result, cases: Iterable[Case], date: str) -> str:
    """Write the page that keeps a result: the table, the machine, and how each row was measured."""
    methods = [f"- {', '.join(f'`{gauge.name}`' for gauge in case.gauges)}: {case.method}" for case in cases]
    parts = [
        f"# Bench `{title}`, {date}",
        table(result),
        f"## Machine\n{machine()} Load before the run: {result.load:.1f}.",
        "## Method\nPeers and floors run in the same run, interleaved with ours; load generators share the machine.",
        "\n".join(methods),
    ]
    return "\n\n".join(parts) + "\n"


def machine() -> str:
    """Say what the figures were taken on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    model = next((line.partition(": ")[2] for line in _cpuinfo() if line.startswith("model name")), platform.machine())
    libraries = ", ".join(f"{name} {version(name)}" for name in _ABOUT)
    root = Path(__file__).parent
    asked = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    commit = subprocess.run(asked, cwd=root, capture_output=True, text=True, check=False).stdout.strip()
    return (
        f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}; {libraries}; commit {commit or 'unknown'}."
    )


def _cpuinfo() -> list[str]:
    return Path("/proc/cpuinfo").read_text().splitlines()
