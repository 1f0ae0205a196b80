"""The table of a torture run: `docs/torture/<date>.md`, a line a scenario, so that a reader sees what was tried."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
from pathlib import Path
from typing import Final, NamedTuple

from tests.house import ROOT

FOLDER: Final = ROOT / "docs" / "torture"
_HEAD: Final = """\
# Torture, {day}

`make torture` on {cores} cores, {memory:.0f} GiB, {system}, Python {python}.

Every round is a fault in the middle of a rollout, beside a job at rest. A round holds when the rollout ends, what was
healthy and is wanted keeps its container, start time and attempt, no replica is missing or doubled at any index of the
log, and nothing is left to decide within 30 s. Rows on the log alone are about what writers were told: it is there
once, where it was said to be, in a chain without a gap. Where the log turns out to be another one, it is named anew
once, and everything runs on. Rows on nodes tell what became of the replicas on those that were cut off or died, and how
long it took. A control is the same with a part broken on purpose: it must be caught, or the scenario
proves nothing.

| scenario | runtime | rounds | longest round | took | outcome |
| --- | --- | ---: | ---: | ---: | --- |
"""
_LINE: Final = re.compile(r"^\| (?!scenario|---)(?P<scenario>[^|]+) \| (?P<runtime>[^|]+) \|.*\|$", re.MULTILINE)


class Row(NamedTuple):
    """One scenario on one runtime: how often it was done, seconds of the longest round and of all, and how it ended."""

    scenario: str
    runtime: str
    rounds: int
    longest: float
    took: float
    outcome: str

    def __str__(self) -> str:
        outcome = self.outcome.replace("|", "/")
        times = f"{self.rounds} | {self.longest:.0f} s | {self.took:.0f} s"
        return f"| {self.scenario} | {self.runtime} | {times} | {outcome} |"


def write(rows: list[Row], day: dt.date, folder: Path = FOLDER) -> Path:
    """Write the day's page; a scenario that ran again that day replaces its line, the others and all notes stay."""
    page = folder / f"{day.isoformat()}.md"
    before = page.read_text() if page.exists() else ""
    found = list(_LINE.finditer(before))
    notes = before[found[-1].end() :].lstrip("\n") if found else ""
    lines = {(line["scenario"], line["runtime"]): line[0] for line in found}
    lines |= {(row.scenario, row.runtime): str(row) for row in rows}
    folder.mkdir(parents=True, exist_ok=True)
    page.write_text(_page(day, [lines[key] for key in sorted(lines)], notes))
    return page


def _page(day: dt.date, lines: list[str], notes: str) -> str:
    head = _HEAD.format(
        day=day.isoformat(),
        cores=os.cpu_count(),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30),
        system=platform.system(),
        python=platform.python_version(),
    )
    return head + "\n".join(lines) + "\n" + (f"\n{notes}" if notes else "")
