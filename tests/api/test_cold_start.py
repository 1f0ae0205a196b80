"""An api that starts on a long log: from a snapshot and what follows it, and not at all where that is not to be had."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from eventstore.migrate import migrate
from tests.api.process import Api, api
from tests.api.specs import spec

pytestmark = pytest.mark.timeout(180)
SIZE = 10  # events in a partition


@pytest.fixture
def long(tmp_path: Path, postgres_dsn: str) -> Iterator[Api]:
    """An api that was stopped, whose log has passed its first partition; a snapshot stands at the end of that."""
    migrate(postgres_dsn, partition=SIZE)
    with api(tmp_path, postgres_dsn) as running:
        for number in range(SIZE + 2):
            running.ask("POST", "/v1/jobs", spec(job=f"job-{number}"), status=201)
        running.part.stop(10)
        command = [sys.executable, "-P", "-m", "eventstore", "snapshot"]
        subprocess.run(command, env={**os.environ, "HEROCTL_DSN": postgres_dsn}, check=True, timeout=60)
        yield running


def _names(made: Api) -> list[str]:
    return sorted(job["name"] for job in made.ask("GET", "/v1/jobs"))


def test_starts_from_the_newest_snapshot_and_says_from_where(long: Api) -> None:
    long.start()
    assert long.said("snapshot_loaded")["index"] == SIZE
    assert _names(long) == sorted(f"job-{number}" for number in range(SIZE + 2))


def test_starts_from_the_log_where_the_snapshot_is_damaged(long: Api, postgres_dsn: str) -> None:
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        admin.execute("UPDATE heroctl.snapshot_rows SET data = substr(data, 2)")
    long.start()
    assert "damaged" in long.said("snapshot_refused")["reason"]
    assert long.said("folding_from_start")
    assert len(_names(long)) == SIZE + 2


def test_says_what_to_do_where_neither_is_to_be_had(long: Api, postgres_dsn: str) -> None:
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        admin.execute("DELETE FROM heroctl.snapshots")
        admin.execute("UPDATE heroctl.floor SET index = 5")
    for process in ("api", "reconciler"):
        ended = subprocess.run(
            [sys.executable, "-P", "-m", process, "--dsn", postgres_dsn],
            check=False,
            timeout=60,
            capture_output=True,
            text=True,
        )
        assert (ended.returncode, process) == (1, process), ended.stderr
        assert "the log is kept after index 5 only" in ended.stderr
        assert "Traceback" not in ended.stderr
