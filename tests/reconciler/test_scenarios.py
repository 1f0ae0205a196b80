"""The planner, told as stories: `scenarios/*.txt`. See `script.py` for how to write them anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reconciler.script import SCENARIOS, rewrite


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.txt")), ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    text = path.read_text()
    assert rewrite(text) == text
