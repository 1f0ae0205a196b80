"""`heroctl cluster loglevel`."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Run
from tests.cli.fake import FakeApi, Reply

PATH = "/v1/cluster/loglevel"
NONE = {"level": None, "api": None, "reconciler": None, "agent": None, "index": 7}


def test_it_is_shown(heroctl_here: Run, api: FakeApi) -> None:
    api.page(PATH, {**NONE, "agent": "debug"})
    lines = [line.split("\t") for line in heroctl_here("cluster", "loglevel").out.splitlines()]
    assert lines == [["all", "as each was told at its start"], ["agent", "debug"]]


@pytest.mark.parametrize(
    ("words", "body", "said"),
    [
        (("debug",), {"level": "debug", "role": None}, "every process logs from debug on, within seconds\n"),
        (
            ("warning", "--role", "agent"),
            {"level": "warning", "role": "agent"},
            "every agent logs from warning on, within seconds\n",
        ),
        (
            ("default",),
            {"level": None, "role": None},
            "every process logs as each was told at its start, within seconds\n",
        ),
    ],
)
def test_it_is_changed(
    heroctl_here: Run, api: FakeApi, words: tuple[str, ...], body: dict[str, object], said: str
) -> None:
    api.act("PUT", PATH, Reply(200, NONE, 8))
    assert heroctl_here("cluster", "loglevel", *words) == (0, "", said)
    assert api.requests[0].json() == body


def test_what_is_no_level_is_asked_of_nobody(heroctl_here: Run, api: FakeApi) -> None:
    assert heroctl_here("cluster", "loglevel", "loud").code == 1
    result = heroctl_here("cluster", "loglevel", "--role", "api")
    assert (result.code, api.requests) == (1, [])
    assert "heroctl cluster loglevel debug --role api" in result.err
