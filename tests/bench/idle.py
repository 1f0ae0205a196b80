"""What a process asks of the database while nothing happens."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psycopg

from tests.bench import product
from tests.bench.rows import Case, Gauge
from tests.waiting import until

_SECONDS: Final = 30.0
_SETTLE: Final = 12.0  # seconds until elections, first looks and their like are over
_ROLES: Final = ("api", "reconciler")


def run(say: Callable[[str], None]) -> dict[str, float]:
    """Give the statements a second that the server saw of an api and of a reconciler."""
    with product.cluster() as cluster:
        with psycopg.connect(cluster.postgres.dsn(), autocommit=True) as connection:
            for setting in ("log_statement = 'all'", "log_line_prefix = 'by:%a '"):
                connection.execute(f"ALTER SYSTEM SET {setting}")
            connection.execute("SELECT pg_reload_conf()")
        cluster.api()
        cluster.reconciler()
        _pass(_SETTLE)
        log = cluster.postgres.folder / "log"
        before, began = log.stat().st_size, time.monotonic()
        _pass(_SECONDS)
        seen, took = statements(log, before), time.monotonic() - began
    for text, count in seen.most_common():
        say(f"{count / took:5.2f}/s {text}")
    return {f"idle_{role}_queries_s": _of(seen, role) / took for role in _ROLES} | {
        "idle_queries_s": max(_of(seen, role) for role in _ROLES) / took
    }


def statements(log: Path, start: int) -> Counter[str]:
    """Count the statements in a server's log from an offset on, by application and by how they begin."""
    with log.open("rb") as file:
        file.seek(start)
        text = file.read().decode(errors="replace")
    found = _STATEMENT.findall(text)
    return Counter(f"{who}: {' '.join(what.split())[:60]}" for who, what in found)


_STATEMENT: Final = re.compile(r"^by:(\w+) LOG:  (?:statement|execute [^:]*): ((?:.*\n)(?:\t.*\n)*)", re.MULTILINE)


def _of(seen: Counter[str], role: str) -> int:
    return sum(count for text, count in seen.items() if text.startswith(f"{role}: "))


def _pass(seconds: float) -> None:
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() > end, timeout=2 * seconds, what="the end of the wait")


CASE: Final = Case(
    gauges=(
        Gauge("idle_queries_s", "statements/s", at_most=2),
        Gauge("idle_api_queries_s", "statements/s"),
        Gauge("idle_reconciler_queries_s", "statements/s"),
    ),
    run=run,
    method=(
        "An api and a reconciler that coordinates, in a cluster without nodes, started and left alone; "
        f"{_SETTLE:.0f} s later every statement that the server gets from each of them in {_SECONDS:.0f} s, as the "
        "server's own log has it. The row with the bar is the greater of the two."
    ),
)
