"""A killed test run leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.e2e import leftovers
from tests.waiting import until


def test_what_a_killed_run_left_ends_with_it() -> None:
    folder = Path(tempfile.mkdtemp(prefix="heroctl-e2e-"))
    owner = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    inside = subprocess.Popen(["sleep", "1000"], cwd=folder, start_new_session=True)
    named = subprocess.Popen(["sleep", "1000"], env={"FOLDER": str(folder / "agent-1")}, start_new_session=True)
    watcher = subprocess.Popen([sys.executable, "-m", "tests.e2e.leftovers", str(owner.pid), str(folder)])
    until(lambda: set(leftovers.processes(folder)) == {inside.pid, named.pid})
    os.kill(owner.pid, signal.SIGKILL)
    owner.communicate()
    assert watcher.wait(timeout=20) == 0
    assert inside.wait(timeout=5) == named.wait(timeout=5) == -signal.SIGKILL
    assert not folder.exists()
