"""What processes say of themselves: as JSON or for people, from a level on that changes while they run, no secrets."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from heroctl import logs

JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZG1pbiJ9.c2lnbmF0dXJl"
Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def said() -> Iterator[io.StringIO]:
    """Everything that is written, by loggers as this test sets them up."""
    before, stream = structlog.get_config(), io.StringIO()
    yield stream
    logs.configure("info")
    structlog.configure(**before)


def lines(said: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.getvalue().splitlines()]


def test_a_line_is_json_with_its_time_level_and_words(said: io.StringIO) -> None:
    logs.configure("info", "json", said)
    structlog.get_logger("x").warning("disk_low", free=7)
    [line] = lines(said)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "disk_low", "level": "warning", "free": 7}


def test_for_people_a_line_is_words(said: io.StringIO) -> None:
    logs.configure("info", "console", said)
    structlog.get_logger("x").warning("disk_low", free=7)
    assert "disk_low" in said.getvalue()
    assert not said.getvalue().startswith("{")
    assert logs.for_people()


def test_the_level_changes_while_it_runs_and_goes_back_to_its_own(said: io.StringIO) -> None:
    logs.configure("warning", "json", said)
    log = structlog.get_logger("x")
    for asked in ("", "debug", "error", "nonsense", "", ""):
        logs.follow(asked)
        for how in (log.debug, log.info, log.warning, log.error):
            how(f"after_{asked}")
    told = [(line["event"], line["level"]) for line in lines(said)]
    assert [each for each in told if each[0] != "log_level"] == [
        *(("after_", how) for how in ("warning", "error")),
        *(("after_debug", how) for how in ("debug", "info", "warning", "error")),
        *(("after_error", how) for how in ("error",)),
        *(("after_nonsense", how) for how in ("error",)),
        *(("after_", how) for how in ("warning", "error")),
        *(("after_", how) for how in ("warning", "error")),
    ]
    changes = [(line["was"], line["now"]) for line in lines(said) if line["event"] == "log_level"]
    assert len(changes) == 3, "each change is told once, whatever the levels are"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("password", "hunter2-secret"),
        ("new_token", "hunter2-secret"),
        ("Authorization", "hunter2-secret"),
        ("error", "postgresql://heroctl:hunter2-secret@db:5432/x refused"),
        ("error", "redis://:hunter2-secret@cache/0"),
        ("path", "/v1/jobs/ht_hunter2-secret_9e1d"),
        ("error", "bad token rt_hunter2-secret_1_7c1d"),
        ("said", f"header Bearer {JWT}"),
        ("said", JWT),
        ("said", "curl -H 'Authorization: Bearer hunter2-secret'"),
        ("said", "GET /?password=hunter2-secret&x=1"),
        ("nested", {"more": [{"secret": "hunter2-secret"}]}),
        ("listed", ["a", "x token=hunter2-secret"]),
        ("raised", ValueError("postgresql://a:hunter2-secret@b")),
    ],
)
@pytest.mark.parametrize("form", ["json", "console"])
def test_what_is_secret_is_masked(said: io.StringIO, form: logs.Format, name: str, value: object) -> None:
    logs.configure("info", form, said)
    structlog.get_logger("x").info("said", **{name: value})
    assert "hunter2-secret" not in said.getvalue()
    assert JWT not in said.getvalue()
    assert logs.MASK in said.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_holds_no_values_and_no_password(said: io.StringIO, form: logs.Format) -> None:
    logs.configure("info", form, said)
    try:
        _fails("open-" + "sesame")
    except ZeroDivisionError:
        structlog.get_logger("x").exception("a_bug")
    assert "ZeroDivisionError" in said.getvalue()
    assert "open-sesame" not in said.getvalue()
    assert "hunter2-secret" not in said.getvalue()


def _fails(value: str) -> None:
    del value
    raise ZeroDivisionError("postgresql://heroctl:hunter2-secret@db refused")


@given(st.text(alphabet=st.characters(codec="ascii", exclude_characters="=:@")))
def test_what_holds_no_secret_stays_as_it_is(text: str) -> None:
    """Words without one of the shapes are nobody's to change."""
    shaped = any(word in text for word in ("ht_", "rt_", "hn_", "hj_", "whsec_", "whk_", "eyJ", "earer"))
    assert shaped or logs.clean(text) == text


def test_ids_and_paths_are_not_taken_for_secrets() -> None:
    for text in ("req_a1b2c3d4e5", "/v1/jobs/right_now", "d0000001", "weight_loss", "http://10.0.0.1:8080/x"):
        assert logs.clean(text) == text
