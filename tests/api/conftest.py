"""Fixtures of the api's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.api.rig import Rig, rig


@pytest.fixture
async def api() -> AsyncIterator[Rig]:
    """An api over an empty log in memory, with its admin logged in."""
    async with rig() as made:
        yield made
