"""Long runs: how long they may take, and the table they leave behind."""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Final

import pytest

from tests.e2e.conftest import pytest_runtest_makereport, runtime
from tests.torture.table import Row, write

__all__ = ["pytest_runtest_makereport", "runtime"]
USUAL_MINUTES: Final = 20.0
MOST_MINUTES: Final = 60.0


@dataclass(slots=True)
class Run:
    """One scenario: its rounds, how long they took, and how it ended."""

    took: list[float] = field(default_factory=list)
    outcome: str = "held"

    @contextmanager
    def round(self) -> Iterator[None]:
        """Count a round."""
        began = time.monotonic()
        yield
        self.took.append(time.monotonic() - began)


Witness = Callable[[str, str], AbstractContextManager[Run]]


@pytest.fixture(scope="session")
def rounds() -> Callable[[int], int]:
    """How often to do what is usually done so often; `TORTURE_MINUTES` (20; at most 60) scales it."""
    minutes = min(float(os.environ.get("TORTURE_MINUTES", USUAL_MINUTES)), MOST_MINUTES)
    return lambda usual: max(1, round(usual * minutes / USUAL_MINUTES))


@pytest.fixture(scope="session")
def rows() -> Iterator[list[Row]]:
    """The lines of the table, written when all is over."""
    found: list[Row] = []
    yield found
    if found:
        print(f"\n{write(found, dt.datetime.now(tz=dt.UTC).date())}")


@pytest.fixture
def witness(rows: list[Row]) -> Witness:
    """Note how a scenario goes, and how each of its rounds does."""

    @contextmanager
    def note(scenario: str, on: str) -> Iterator[Run]:
        run, began = Run(), time.monotonic()
        try:
            yield run
        except BaseException as error:
            run.outcome = f"FAILED: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
            raise
        finally:
            row = Row(scenario, on, len(run.took), max(run.took, default=0), time.monotonic() - began, run.outcome)
            rows.append(row)
            print(f"\n{row}")

    return note
