"""The page on what can go wrong: each problem is made, seen as the page says, and mended as the page says."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import pytest

from tests import servers
from tests.dev.pages import follow, shell
from tests.dev.test_dev import Dev, cluster
from tests.house import ROOT
from tests.waiting import until

pytestmark = [pytest.mark.dev, pytest.mark.timeout(180)]

PAGE: Final = ROOT / "docs" / "troubleshooting.md"
MEND: Final = "**Mend.**"
Fault = Callable[[Dev], AbstractContextManager[object]]


@pytest.fixture(scope="module")
def running() -> Iterator[Dev]:
    with cluster() as made:
        made.start("--port", str(servers.free_port()), "--agents", "2")
        yield made
        made.stop()


def problems() -> dict[str, tuple[str, str]]:
    """Cut the page: by title, what is seen, and what mends it."""
    found = {}
    for section in PAGE.read_text().split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        seen, mend, mended = text.partition(MEND)
        assert mend, f"{title}: nothing mends it"
        found[title] = seen, mended
    return found


# ── what is broken, and how ──────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def frozen(made: Dev, part: str, broken: Callable[[dict[str, Any]], bool]) -> Iterator[None]:
    """Freeze a process until the cluster shows it, and let it go on after the block until that is over."""
    pid = made.report["pids"][part]
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: broken(made.get("/v1/cluster/status")), timeout=60, what=f"the cluster to miss {part}")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: not broken(made.get("/v1/cluster/status")), timeout=60, what=f"{part} to be there again")


def whole(_: Dev) -> AbstractContextManager[object]:
    """Break nothing: the page itself does."""
    return contextlib.nullcontext()


def failed(check: str) -> Callable[[dict[str, Any]], bool]:
    return lambda status: any(each["name"] == check and not each["ok"] for each in status["checks"])


FAULTS: Final[dict[str, Fault]] = {
    "8. A node is down": lambda made: frozen(made, "agent-2", failed("nodes")),
    "9. Nothing is decided any more": lambda made: frozen(made, "reconciler", failed("coordinator")),
    "10. Redis is away": lambda made: frozen(made, "valkey", failed("redis")),
}


# ── the test ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_there_are_twelve_and_each_fault_is_of_one() -> None:
    titles = list(problems())
    assert [int(title.partition(".")[0]) for title in titles] == list(range(1, 13))
    assert FAULTS.keys() <= set(titles)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("problems")


@pytest.mark.parametrize("title", problems(), ids=lambda title: re.sub(r"\W+", "_", title))
def test_a_problem_is_seen_and_mended_as_the_page_says(running: Dev, folder: Path, title: str) -> None:
    seen, mended = problems()[title]
    with FAULTS.get(title, whole)(running):
        assert done(running, folder, seen) > 0, "nothing shows it"
    assert done(running, folder, mended) > 0, "nothing shows that it is mended"


def done(made: Dev, folder: Path, text: str) -> int:
    """Do what a part of the page says; return how many commands that were."""
    (folder / "part.md").write_text(text)
    return follow(folder / "part.md", folder, shell(folder, made.environ()))
