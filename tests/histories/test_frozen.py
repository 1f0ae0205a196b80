"""What a release has written is read by every later one: its recorded histories are never told anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from heroctl.domain.events import EVENTS
from heroctl.domain.events.schemas import STEPS
from tests.histories import frozen, history
from tests.house import ROOT


def test_what_is_frozen_is_as_it_was() -> None:
    assert frozen.changed() == []


def test_every_release_froze_its_histories() -> None:
    told = frozen.released((ROOT / "CHANGELOG.md").read_text())
    kept = {each.release for each in frozen.listed()}
    assert told - kept == set(), "a release begins with `python -m tests.histories.frozen VERSION`"


def test_every_tag_occurs_in_every_schema() -> None:
    """So that each way up from an earlier schema is held to what it gave."""
    told = {(row[3], row[4]) for name in history.names() for row in history.read(name)}
    assert {(tag, kind.SCHEMA) for tag, kind in EVENTS.items()} - told == set(), "made.py tells new ones"
    assert STEPS.keys() - told == set()


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """The histories, as they are frozen by a release."""
    folder = tmp_path / "histories"
    shutil.copytree(history.FOLDER, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    frozen.freeze("9.9.9", folder)
    return folder


def test_a_release_freezes_everything_once(released: Path) -> None:
    assert {each.file for each in frozen.listed(released)} >= {f"{name}.ndjson" for name in history.names()}
    assert frozen.freeze("9.9.10", released) == []
    (released / "later-1.ndjson").write_bytes(b"{}\n")
    assert [each.file for each in frozen.freeze("9.9.10", released)] == ["later-1.ndjson"]
    assert frozen.changed(released) == []


@pytest.mark.parametrize("kind", ["made-1.ndjson", "made-1.golden.json", "run-1.ndjson"])
def test_an_edit_of_what_is_frozen_is_noticed(released: Path, kind: str) -> None:
    file = released / kind
    file.write_bytes(file.read_bytes().replace(b"web", b"wee", 1))
    assert frozen.changed(released) == [kind]
    file.unlink()
    assert frozen.changed(released) == [kind]


def test_another_layout_of_the_state_is_no_edit(released: Path) -> None:
    file = released / "made-1.golden.json"
    golden = msgspec.json.decode(file.read_bytes())
    file.write_bytes(msgspec.json.encode(golden | {"digest": "another", "parts": {}, "sizes": {}}))
    assert frozen.changed(released) == []


def test_releases_are_those_with_a_number() -> None:
    text = "## [Unreleased]\n## [1.2.3] - 2030-01-01\n### Added\n- [4.5.6]\n## [0.1.0]\n"
    assert frozen.released(text) == {"1.2.3", "0.1.0"}
