"""Every recorded history folds to what it always folded to."""

from __future__ import annotations

import msgspec
import pytest

from eventstore import codec
from heroctl.domain.events import Opaque, encode
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
            assert msgspec.json.decode(data) == msgspec.json.decode(row[6])
