"""docs/cli.md is what the command tree says today."""

from __future__ import annotations

from heroctl.cli.docs import document
from tests.house import ROOT


def test_current() -> None:
    """Run `make docs` after a change of commands."""
    assert (ROOT / "docs" / "cli.md").read_text() == document()
