"""The folder of a dev cluster: one at a time, private, and with short paths to its sockets."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from eventstore.seal import keys_of
from heroctl.dev.folder import Folder, Report, Trouble


def test_it_is_made_and_private(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "a" / "b")
    kept = folder.kept()
    assert stat.S_IMODE(folder.place.stat().st_mode) == 0o700
    assert len(kept.admin_password) >= 20
    assert Folder.kept(folder) == kept
    folder.write("dev.json", Report("http://x", "t", "p", {}))
    for name in ("kept.json", "dev.json"):
        assert stat.S_IMODE((folder.place / name).stat().st_mode) == 0o600
    assert json.loads(folder.report.read_bytes())["url"] == "http://x"


def test_the_key_of_secrets_lies_beside_it_and_stays(tmp_path: Path) -> None:
    """Whoever copies the folder has no secret; whoever removes it has the key for the next one."""
    folder = Folder(tmp_path / "dev")
    key = folder.secrets_key()
    assert key == tmp_path / "dev.secrets-key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    [found] = keys_of(key.read_bytes().splitlines())
    assert folder.secrets_key() == key
    assert [each.id for each in keys_of(key.read_bytes().splitlines())] == [found.id]


def test_two_on_one_folder_are_refused_with_who_has_it(tmp_path: Path) -> None:
    holder = f"""
import sys; from pathlib import Path; from heroctl.dev.folder import Folder, Report
folder = Folder(Path({str(tmp_path)!r})); folder.write("dev.json", Report("http://there", "t", "p", {{}}))
print(flush=True); sys.stdin.read()
"""
    command = [sys.executable, "-c", holder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(Trouble, match=rf"already \(process {process.pid}, its API at http://there\)"):
            Folder(tmp_path)
        process.kill()
    assert not Folder(tmp_path).report.exists()  # what the dead one told is no longer true


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Trouble, match="cannot be used"):
        Folder(tmp_path / "file" / "x")


def test_sockets_get_a_short_path_of_their_own(tmp_path: Path) -> None:
    assert Folder(tmp_path / "short").sockets(os.getuid()).parent == tmp_path / "short"
    long = Folder(tmp_path / ("x" * 120))
    sockets = long.sockets(os.getuid())
    try:
        assert len(str(sockets)) < 90
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert long.sockets(os.getuid()) == sockets
        sockets.chmod(0o777)
        with pytest.raises(Trouble, match="is not ours alone"):
            long.sockets(os.getuid())
    finally:
        sockets.rmdir()


@pytest.mark.parametrize("text", [b"", b"{", b"null"])
def test_a_list_of_children_that_was_not_written_whole_is_no_list(tmp_path: Path, text: bytes) -> None:
    folder = Folder(tmp_path)
    (tmp_path / "children.json").write_bytes(text)
    assert folder.children() == {}
