"""The process: started, told to end, killed; against a real Postgres."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from eventstore.lease import TTL
from reconciler.__main__ import main
from tests.servers import free_port
from tests.waiting import until


class Process:
    """A reconciler with its log in a file."""

    def __init__(self, folder: Path, name: str, dsn: str, *flags: str) -> None:
        self._log = folder / f"{name}.log"
        environ = {name: value for name, value in os.environ.items() if not name.startswith("HEROCTL_")}
        with self._log.open("wb") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "reconciler", "--advertise", name, *flags],
                env=environ | {"HEROCTL_DSN": dsn},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def said(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines of an event."""
        lines = self._log.read_text().splitlines()
        return [line for line in map(json.loads, filter(None, lines)) if line["event"] == event]

    @property
    def coordinates(self) -> bool:
        """Whether it ever became the coordinator."""
        return bool(self.said("coordinating"))

    def end(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Send a signal; return the exit code and the seconds until then."""
        began = time.monotonic()
        self.popen.send_signal(how)
        return self.popen.wait(10), time.monotonic() - began


@contextlib.contextmanager
def running(folder: Path, dsn: str, *names: str) -> Iterator[list[Process]]:
    processes = [Process(folder, name, dsn) for name in names]
    try:
        yield processes
    finally:
        for process in processes:
            process.popen.kill()
            process.popen.wait()


def members(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        return len(connection.execute("SELECT FROM heroctl.members").fetchall())


def test_one_coordinates_and_hands_over_when_asked_to_end(postgres_dsn: str, tmp_path: Path) -> None:
    with running(tmp_path, postgres_dsn, "r1", "r2") as processes:
        until(lambda: all(process.said("running") for process in processes), timeout=20)
        until(lambda: any(process.coordinates for process in processes))
        until(lambda: members(postgres_dsn) == 2)
        [first] = [process for process in processes if process.coordinates]
        [second] = [process for process in processes if process is not first]
        code, seconds = first.end()
        assert (code, seconds < 5) == (0, True)
        assert first.said("handed_over")
        until(lambda: second.coordinates, timeout=0.8 * TTL)
        assert second.end()[0] == 0
        assert not [line for process in processes for line in process.said("plan_failed")]


def test_it_ends_while_the_database_is_away(tmp_path: Path) -> None:
    with running(tmp_path, f"postgresql://nobody@127.0.0.1:{free_port()}/none", "r1") as [process]:
        until(lambda: process.said("database_away"), timeout=20)
        code, seconds = process.end()
        assert (code, seconds < 5) == (0, True)


def test_settings(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEROCTL_DSN", raising=False)
    assert main(["--help"]) == 0
    assert "--redis-url" in capsys.readouterr().out
    assert main(["--dsn", "postgresql://me:sesame@db/x", "--show-config"]) == 0
    assert "sesame" not in capsys.readouterr().out
    assert main([]) == 2
    assert "--dsn: is needed" in capsys.readouterr().err
    wrong = ["--webhook-network", "10.0.0.0/99", "--secrets-key-file", "/nowhere"]
    assert main(["--dsn", "postgresql://db/x", *wrong]) == 2
    said = capsys.readouterr().err
    assert "--webhook-network: " in said
    assert "--secrets-key-file: /nowhere: No such file" in said
