"""Every recorded history folds to what it always folded to."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from eventstore import codec
from heroctl.domain.events import Opaque, decode, encode
from heroctl.domain.events.schemas import STEPS
from tests.histories import history, made

NAMES = history.names()


@pytest.mark.parametrize("name", NAMES)
def test_a_history_folds_to_its_golden_state(name: str) -> None:
    golden = msgspec.json.decode(history.golden_file(name).read_bytes())
    assert msgspec.to_builtins(history.amount(history.fold(history.read(name)))) == golden


@pytest.mark.parametrize("name", NAMES)
def test_every_event_of_a_history_is_still_known(name: str) -> None:
    rows = history.read(name)
    unread = [row[0] for row, record in zip(rows, codec.records(rows), strict=True) if isinstance(record.event, Opaque)]
    assert unread == []


def test_a_story_made_today_folds_too() -> None:
    rows = made.story()
    assert history.fold(rows).index == len(rows)


def test_an_event_survives_reading_and_writing() -> None:
    for name in NAMES:
        rows = history.read(name)
        for row, record in zip(rows, codec.records(rows), strict=True):
            if (row[3], row[4]) in STEPS:
                continue  # it is written as the schema after it
            tag, schema, data = encode(record.event)
            assert (tag, schema) == (row[3], row[4])
            assert decode(tag, schema, data) == record.event
            assert _kept(msgspec.json.decode(row[6]), msgspec.json.decode(data)), row[0]


def _kept(stood: Any, written: Any) -> bool:  # noqa: ANN401 - any JSON
    """Tell whether all that stood in an event stands there still. A record that is a list may have grown at its end."""
    if isinstance(stood, dict) and isinstance(written, dict):
        return stood.keys() == written.keys() and all(_kept(stood[name], written[name]) for name in stood)
    if isinstance(stood, list) and isinstance(written, list):
        return len(stood) <= len(written) and all(map(_kept, stood, written))
    return bool(stood == written)
