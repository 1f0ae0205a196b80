"""Measure the hot paths.

    python -m tests.bench [--only GROUP|ROW,...] [--json FILE] [--doc FILE] [--list]

Without --only every group runs. `--only log-curves` is apart: it draws the log's curves, and has no bars. Each option
is a variable of the environment too (ONLY, JSON, DOC). Exit code 1: a bar was missed; 2: a row could not be measured.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tests.bench import curves, deploy, door, log, nodes, observe, path, place, rows, stream, webhooks
from tests.bench.rows import Case, Failure, Result, Row

GROUPS: Final[dict[str, tuple[Case, ...]]] = {
    "path": path.CASES,
    "placement": place.CASES + nodes.CASES,
    "log": log.CASES,
    "door": door.CASES,
    "deploy": deploy.CASES,
    "observe": observe.CASES,
    "events": stream.CASES + webhooks.CASES,
}


def main(argv: list[str]) -> int:
    """Run what is asked for, print the table, and return the exit code."""
    options = _options(argv)
    if options.list:
        print(
            "\n".join(f"{group}: {gauge.name}" for group in GROUPS for case in GROUPS[group] for gauge in case.gauges)
        )
        return 0
    asked = [name for name in options.only.split(",") if name]
    if asked == [curves.NAME]:
        return curves.main(options.doc, options.date, say)
    cases = choose(asked)
    result = Result()
    for case in cases:
        measure(case, result)
    print(rows.table(result))
    if options.json:
        Path(options.json).write_bytes(rows.encode(result.rows))
    if options.doc:
        title = ", ".join(asked or GROUPS)
        date = dt.datetime.now(dt.UTC).date().isoformat()
        Path(options.doc).write_text(rows.document(title, result, cases, options.date or date))
    return result.code


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure the hot paths.")
    parser.add_argument("--only", default=os.environ.get("ONLY", ""), help="groups or rows, separated by commas")
    parser.add_argument("--json", default=os.environ.get("JSON", ""), help="also write the rows to this file")
    parser.add_argument("--doc", default=os.environ.get("DOC", ""), help="also write a page in Markdown to this file")
    parser.add_argument("--date", default=os.environ.get("DATE", ""), help="the date on that page (default: today)")
    parser.add_argument("--list", action="store_true", help="name every row and do nothing")
    return parser.parse_args(argv)


def choose(asked: Iterable[str]) -> list[Case]:
    """Find the cases of groups and rows by name, in the registry's order; all of them where nothing is asked."""
    wanted = {*asked}
    rows_of = {case: {gauge.name for gauge in case.gauges} for group in GROUPS.values() for case in group}
    known = {*GROUPS}.union(*rows_of.values())
    if unknown := wanted - known:
        raise SystemExit(f"no such group or row: {', '.join(sorted(unknown))}; --list names them")
    return [
        case
        for group, cases in GROUPS.items()
        for case in cases
        if not wanted or group in wanted or rows_of[case] & wanted
    ]


def measure(case: Case, result: Result) -> None:
    """Run one case: a row for each of its gauges, or a failure."""
    names = ", ".join(gauge.name for gauge in case.gauges)
    began = time.monotonic()
    say(f"── {names}")
    try:
        values = case.run(say)
    except Exception as error:  # noqa: BLE001 - a row that fails must not take the others with it; it is reported
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        result.failures += [Failure(gauge.name, reason) for gauge in case.gauges]
        return
    for gauge in case.gauges:
        if gauge.name in values:
            value = values[gauge.name]
            result.rows.append(Row(gauge.name, value, gauge.unit, gauge.bar, gauge.passed(value)))
        else:
            result.failures.append(Failure(gauge.name, "the case gave no value"))
    say(f"── {time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}")


def say(text: str) -> None:
    """Tell whoever waits, apart from the result."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
