"""The api answers as its OpenAPI document says, whatever comes: a real process over a real Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.api import recipes
from tests.api.fuzz import Fuzz
from tests.api.process import api

FAST: Final = [word for who in ("admin", "node", "address") for word in (f"--limit-{who}", "1000000")]


@pytest.fixture
def fuzz(tmp_path: Path, postgres_dsn: str, redis_url: str) -> Iterator[Fuzz]:
    with api(tmp_path, postgres_dsn, redis_url, *FAST) as made:
        yield recipes.seeded(made, postgres_dsn)


@pytest.mark.timeout(300)
def test_every_answer_is_documented(fuzz: Fuzz) -> None:
    removed = recipes.each_once(fuzz)
    fuzz.all(examples=8)
    recipes.conflicts(fuzz, removed)
    assert fuzz.asked >= 800
    assert sorted(label for label, count in fuzz.successes().items() if not count) == []
