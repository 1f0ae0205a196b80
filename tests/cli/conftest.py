"""A command line of the test's own: its contexts, its API, no terminal."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from heroctl.cli.__main__ import run
from heroctl.cli.waiting import THREADS
from tests.cli.fake import FakeApi


class Result(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


class Terminal(io.TextIOWrapper):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def api() -> Iterator[FakeApi]:
    fake = FakeApi()
    yield fake
    fake.close()
    for thread in threading.enumerate():
        if thread.name == THREADS:
            thread.join(10)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ADDR", "TOKEN", "CONTEXT", "NAMESPACE", "CA_CERT"):
        monkeypatch.delenv(f"HEROCTL_{name}", raising=False)
    place = tmp_path / "cli" / "config.toml"
    monkeypatch.setenv("HEROCTL_CONTEXTS", str(place))
    return place


@pytest.fixture
def heroctl(config: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process: `heroctl("job", "list", stdin="...")`; `typed`: by somebody at a terminal."""

    def go(*words: str, stdin: str = "", typed: bool = False) -> Result:
        kind = Terminal if typed else io.TextIOWrapper
        monkeypatch.setattr(sys, "stdin", kind(io.BytesIO(stdin.encode())))
        capfd.readouterr()
        code = run(words)
        out, err = capfd.readouterr()
        return Result(code, out, err)

    return go


@pytest.fixture
def heroctl_here(heroctl: Run, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command against the fake API."""
    monkeypatch.setenv("HEROCTL_ADDR", api.address)
    monkeypatch.setenv("HEROCTL_TOKEN", "ht_test")
    return heroctl
