"""Where secrets may lie: in memory, in a folder that is the agent's alone, or nowhere."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import doctor, memory
from agents.host_files import HostFiles
from agents.memory import Memory, in_memory
from agents.runtime import NoTmpfs
from tests.needs import needs

SHM = Path("/dev/shm")


@pytest.fixture
def place() -> Iterator[Path]:
    made = SHM / f"heroctl-test-{secrets.token_hex(4)}"
    yield made
    made.unlink() if made.is_symlink() else shutil.rmtree(made, ignore_errors=True)


def test_a_disk_is_told_from_memory(tmp_path: Path) -> None:
    assert in_memory(SHM)
    assert not in_memory(tmp_path)


def test_a_folder_is_made_for_its_owner_alone(place: Path) -> None:
    held = Memory("c1.n1", str(place))
    assert held.existing() == []
    folder = held.folder()
    assert folder == place / "c1.n1"
    assert [folder] == held.existing() == Memory("c1.n1", str(place)).existing()
    assert [path.stat().st_mode & 0o777 for path in (place, folder)] == [0o700, 0o700]


def test_a_folder_that_others_could_look_into_is_closed(place: Path) -> None:
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    Memory("n1", str(place)).folder()
    assert place.stat().st_mode & 0o777 == 0o700


def test_what_others_put_at_a_usual_place_is_never_swept(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precious = tmp_path / "precious" / "data"
    precious.mkdir(parents=True)
    (place / "n1").mkdir(parents=True)
    (place / "n1" / "docker").symlink_to(precious.parent)
    files = HostFiles(tmp_path / "disk", Memory("n1", str(place)), "docker")
    monkeypatch.setattr(os, "geteuid", lambda: place.stat().st_uid + 1)
    files.sweep(files.keys(), ())
    files.remove("data")
    assert precious.is_dir(), "a stranger's link led to it"
    place.rename(place.with_name(f"{place.name}-real"))
    place.symlink_to(place.with_name(f"{place.name}-real"))
    monkeypatch.undo()
    try:
        assert Memory("n1", str(place)).existing() == [], "a link is nobody's"
    finally:
        shutil.rmtree(place.with_name(f"{place.name}-real"))


def test_a_link_is_not_followed(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place.symlink_to(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NoTmpfs):
        Memory("n1", str(place)).folder()
    monkeypatch.undo()
    with pytest.raises(NoTmpfs, match=r"link|not root"):
        Memory("n1", str(place)).folder()
    assert list(tmp_path.iterdir()) == []
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


def test_somebody_elses_folder_is_not_taken(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(NoTmpfs) as refused:
        Memory("n1", str(place)).folder()
    assert (refused.value.fault.kind, refused.value.fault.reason) == ("final", "no_tmpfs")


def test_without_memory_and_without_root_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NoTmpfs, match="not root"):
        Memory("n1", str(tmp_path / "run")).folder()
    assert not (tmp_path / "run").exists()


@needs("netns")
def test_root_mounts_one(tmp_path: Path) -> None:
    place = tmp_path / "run"
    try:
        folder = Memory("n1", str(place)).folder()
        assert in_memory(folder)
        assert place.stat().st_mode & 0o777 == 0o700
        again = Memory("n1", str(place)).folder()
        assert again == folder
        assert sum(f" {place} " in line for line in Path("/proc/self/mounts").read_text().splitlines()) == 1
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_look_at_the_machine_makes_nothing(place: Path, tmp_path: Path) -> None:
    assert memory.likely(str(place)) == place
    assert not place.exists()
    assert memory.likely(str(tmp_path / "run")) is None
    place.symlink_to(tmp_path)
    assert memory.likely(str(place)) is None


@pytest.mark.parametrize(
    ("found", "root", "state"), [(SHM / "x", False, "ok"), (None, True, "ok"), (None, False, "warn")]
)
def test_the_doctor_tells_where_secrets_would_lie(found: Path | None, root: bool, state: str) -> None:  # noqa: FBT001 - a parameter
    assert doctor._memory(found, root=root).state == state


@needs("netns")
def test_a_place_that_is_in_memory_no_longer_is_left(tmp_path: Path) -> None:
    place = tmp_path / "run"
    held = Memory("n1", str(place))
    held.folder()
    subprocess.run(["umount", str(place)], check=True)
    assert held.existing() == []
    (place / "n1").mkdir()
    assert held.existing() == [], "a folder of that name on the disk is none"
    try:
        assert in_memory(held.folder()), "it is mounted anew"
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_it_stays_where_it_is_when_a_better_place_comes_up(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    better = place.with_name(f"{place.name}-better")
    monkeypatch.setattr(memory, "_usual", lambda: [better / "deep", place])
    held = Memory("n1")
    assert held.folder() == place / "n1"
    better.mkdir()
    try:
        assert held.folder() == place / "n1"
        assert held.existing() == [place / "n1"]
    finally:
        shutil.rmtree(better)


def test_what_an_earlier_agent_put_elsewhere_is_found(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = place.with_name(f"{place.name}-other")
    try:
        Memory("n1", str(other)).folder()
        monkeypatch.setattr(memory, "_usual", lambda: [place, other])
        held = Memory("n1")
        assert held.folder() == place / "n1"
        assert held.existing() == [place / "n1", other / "n1"]
    finally:
        shutil.rmtree(other)


def test_the_usual_places_are_asked_in_turn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    places = [str(path) for path in memory._usual()]
    assert places == ["/run/heroctl", f"{tmp_path}/heroctl", f"/dev/shm/heroctl-{os.geteuid()}"]
