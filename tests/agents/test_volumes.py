"""Named volumes: made once, given once, never through a link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.runtime import VolumeUnusable
from agents.volumes import Volumes
from heroctl.domain.mounts import VOLUME_NAME
from tests.needs import needs


def test_a_volume_is_made_once_and_kept(tmp_path: Path) -> None:
    volumes = Volumes(tmp_path / "volumes")
    place = volumes.place("default", "data")
    assert place == tmp_path / "volumes" / "default" / "data"
    assert volumes.is_new(place)
    (place / "word").write_text("kept")
    volumes.give(place, os.getuid(), os.getgid())
    assert not volumes.is_new(place)
    assert Volumes(tmp_path / "volumes").place("default", "data") == place
    assert (place / "word").read_text() == "kept"
    assert place.stat().st_mode & 0o7777 == 0o755


@needs("netns")
def test_it_is_given_to_the_first_who_uses_it_and_to_nobody_after(tmp_path: Path) -> None:
    volumes = Volumes(tmp_path / "volumes")
    place = volumes.place("default", "data")
    volumes.give(place, 1234, 1235)
    volumes.give(place, 99, 99)
    assert (place.stat().st_uid, place.stat().st_gid) == (1234, 1235)


@pytest.mark.parametrize("part", ["volumes", "volumes/default", "volumes/default/data"])
def test_a_link_in_its_place_is_not_followed(tmp_path: Path, part: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / part).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(VolumeUnusable) as refused:
        Volumes(tmp_path / "volumes").place("default", "data")
    assert refused.value.fault.reason == "volume_unusable"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_file_in_its_place_is_no_volume(tmp_path: Path) -> None:
    (tmp_path / "volumes" / "default").mkdir(parents=True)
    (tmp_path / "volumes" / "default" / "data").touch()
    with pytest.raises(VolumeUnusable, match="data"):
        Volumes(tmp_path / "volumes").place("default", "data")


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/etc", "../x", "a\0b", "A", "a\n"])
def test_no_name_leads_out(tmp_path: Path, name: str) -> None:
    for namespace, volume in (("default", name), (name, "data")):
        with pytest.raises(VolumeUnusable):
            Volumes(tmp_path / "volumes").place(namespace, volume)
    assert list(tmp_path.iterdir()) == []


@given(st.text(max_size=70))
def test_what_a_spec_may_name_is_one_step_down(name: str) -> None:
    if VOLUME_NAME.fullmatch(name):
        assert Path("/volumes", name).parent == Path("/volumes")
        assert os.path.normpath(f"/volumes/{name}") == f"/volumes/{name}"
