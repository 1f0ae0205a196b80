"""Fixtures of the agent's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.agents.rig import Rig, rig


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Rig]:
    """A node with an agent that is not started yet."""
    async with rig(tmp_path / "data") as made:
        yield made
