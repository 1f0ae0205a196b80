"""The pages on deploying, done as they are written, on a cluster of `heroctl dev`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.dev.pages import follow, shell
from tests.dev.test_dev import Dev, cluster
from tests.house import ROOT
from tests.needs import needs

pytestmark = [pytest.mark.dev, pytest.mark.timeout(180), needs("curl")]


@pytest.fixture(scope="module")
def running() -> Iterator[Dev]:
    with cluster() as made:
        made.start("--port", str(servers.free_port()))
        yield made
        made.stop()


@pytest.mark.parametrize(("page", "commands"), [("first-app", 30), ("strategies", 15)])
def test_a_page_says_what_is_seen(running: Dev, tmp_path: Path, page: str, commands: int) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    typed = shell(tmp_path, running.environ())
    assert follow(ROOT / "docs" / "deploy" / f"{page}.md", tmp_path, typed, skip=("heroctl dev",)) >= commands
