"""How long the command line takes to say its version: what every shell script pays before it gets anything."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.bench.rows import Case, Gauge

_RUNS: Final = 10


def run(say: Callable[[str], None]) -> dict[str, float]:
    """Give the median of ten runs."""
    heroctl = Path(sys.executable).parent / "heroctl"
    took = [_once(heroctl) for _ in range(_RUNS + 1)][1:]  # the first one warms the file cache
    say(f"{min(took):.0f}..{max(took):.0f} ms")
    return {"cli_version_ms": statistics.median(took)}


def _once(heroctl: Path) -> float:
    began = time.monotonic()
    said = subprocess.run([heroctl, "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    took = (time.monotonic() - began) * 1000
    assert any(letter.isdigit() for letter in said), said
    return took


CASE: Final = Case(
    gauges=(Gauge("cli_version_ms", "ms", at_most=200),),
    run=run,
    method=f"`heroctl --version` as a process of its own, median of {_RUNS}, after one that is not counted.",
)
