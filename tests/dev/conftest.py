"""What tests of dev mode share."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Name the mark of those that run a whole dev cluster."""
    config.addinivalue_line("markers", "dev: runs a whole cluster by `heroctl dev`")
