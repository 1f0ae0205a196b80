"""Files on the host: there whole with their modes, and swept only where nobody has them, whatever happens meanwhile."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.container import Content
from agents.host_files import HostFiles
from agents.memory import Memory
from agents.runtime import NoTmpfs, StartFailed

PLAIN = Content("/etc/app.conf", b"plain", 0o640)
SECRET = Content("/run/word", b"open sesame", 0o400, secret=True)


@pytest.fixture
def place() -> Iterator[Path]:
    made = Path(f"/dev/shm/heroctl-test-{secrets.token_hex(4)}")
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def files(place: Path, tmp_path: Path) -> HostFiles:
    return HostFiles(tmp_path / "files", Memory("n1", str(place)), "docker")


def test_each_lies_where_it_may_with_its_mode(files: HostFiles, place: Path, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        plain, secret = files.put("a.1", [PLAIN, SECRET])
    finally:
        os.umask(before)
    assert plain.is_relative_to(tmp_path)
    assert secret.is_relative_to(place)
    assert [path.read_bytes() for path in (plain, secret)] == [b"plain", b"open sesame"]
    assert [path.stat().st_mode & 0o777 for path in (plain, secret)] == [0o640, 0o400]
    assert {path.parent.stat().st_mode & 0o077 for path in (plain, secret)} == {0}


def test_put_again_nothing_is_left_of_before(files: HostFiles) -> None:
    files.put("a.1", [SECRET, PLAIN, PLAIN])
    [path] = files.put("a.1", [Content("/x", b"new", 0o400)])
    assert path.read_bytes() == b"new"
    assert files.keys().keys() == {"a.1"}
    assert [entry.name for entry in path.parent.iterdir()] == ["0"]
    files.remove("a.1")
    files.remove("a.1")
    assert files.keys() == {}


def test_without_a_place_in_memory_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    files = HostFiles(tmp_path / "files", Memory("n1", str(tmp_path / "run")), "docker")
    with pytest.raises(NoTmpfs):
        files.put("a.1", [PLAIN, SECRET])
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"sesame" in path.read_bytes()]


def test_a_disk_that_takes_nothing_fails_the_start_and_leaves_nothing(
    files: HostFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fchmod", full)
    with pytest.raises(StartFailed, match="No space left"):
        files.put("a.1", [PLAIN, SECRET])
    assert files.keys() == {}


def test_what_nobody_has_is_swept(files: HostFiles) -> None:
    for key in ("a.1", "b.1", "c.1"):
        files.put(key, [PLAIN, SECRET])
    files.sweep(files.keys(), {"b.1"})
    assert files.keys().keys() == {"b.1"}


def test_what_is_being_made_is_not_swept(files: HostFiles) -> None:
    with files.held("a.1"):
        files.put("a.1", [SECRET])
        assert files.keys() == {}
        before = {"a.1": 1}
        files.sweep(before, ())
    assert files.keys().keys() == {"a.1"}


def test_what_was_made_while_somebody_looked_is_not_swept(files: HostFiles) -> None:
    with files.held("a.1"):
        files.put("a.1", [SECRET])
        before = files.keys()  # the look begins: its container is not made yet
    files.sweep(before, ())  # the look, which did not see it, is over
    assert files.keys().keys() == {"a.1"}


def test_what_was_left_and_is_made_anew_while_somebody_looked_is_not_swept(files: HostFiles, place: Path) -> None:
    (place / "n1/docker/a.1").mkdir(parents=True)
    before = files.keys()
    assert before == {"a.1": 0}
    with files.held("a.1"):
        files.put("a.1", [SECRET])
    files.sweep(before, ())
    assert files.keys().keys() == {"a.1"}
