"""What only plain processes can suffer: kills of the agent and the waiter, reboots, output without end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from agents import cgroup, process_runtime, waiter
from agents.container import Container, Description
from agents.process_runtime import ProcessRuntime
from agents.runtime import Gone, StartFailed
from tests.agents.kits import ProcessKit, lives, opened
from tests.house import ROOT
from tests.waiting import eventually, until

AGENT = """
import asyncio, os, signal, sys
from pathlib import Path
import msgspec
from agents.container import Description
from agents.process_runtime import ProcessRuntime

async def main():
    cluster, folder, described = sys.argv[1:]
    runtime = ProcessRuntime(cluster, "n1", Path(folder), "boot1")
    await runtime.open()
    await runtime.start(msgspec.json.decode(described, type=Description))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.fixture
async def kit() -> AsyncIterator[ProcessKit]:
    async with opened("process") as made:
        assert isinstance(made, ProcessKit)
        yield made


def shell(kit: ProcessKit, script: str, **more: object) -> Description:
    described = replace(kit.describe("stays"), command=("/bin/sh", "-c", script))
    return replace(described, **more)


def pid(kit: ProcessKit, container: str, who: str = "pid") -> int:
    return int(json.loads((kit.folder / container / "pid.json").read_bytes())[who])


async def is_over(runtime: ProcessRuntime, alloc: str) -> Container | None:
    (found,) = await runtime.list(alloc)
    return found if found.state == "exited" else None


async def over(runtime: ProcessRuntime, alloc: str) -> Container:
    found = await eventually(lambda: is_over(runtime, alloc), what="the end of a process")
    assert found is not None
    return found


async def test_an_exit_code_outlives_the_agent_that_started_the_process(kit: ProcessKit, tmp_path: Path) -> None:
    go = tmp_path / "go"
    described = shell(kit, f"while ! test -e {go}; do sleep 0.02; done; exit 7")
    encoded = msgspec.json.encode(described).decode()
    command = [sys.executable, "-c", AGENT, kit.cluster, str(kit.folder), encoded]
    agent = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, check=False, timeout=30)
    assert agent.returncode == -signal.SIGKILL
    (found,) = await kit.runtime.list()
    assert found.state == "running"
    go.touch()
    assert (await over(kit.runtime, described.alloc)).exit_code == 7


async def test_a_process_whose_waiter_was_killed_is_still_known_and_its_end_heard(kit: ProcessKit) -> None:
    made = await kit.runtime.start(kit.describe("stays"))
    os.kill(pid(kit, made.id, "waiter"), signal.SIGKILL)
    other = kit.again()
    until(lambda: not _has_waiter(kit, made.id), what="the end of the waiter")
    (found,) = await other.list()
    assert found.state == "running"
    os.kill(pid(kit, made.id), signal.SIGKILL)
    ended = await over(other, made.alloc)
    assert (ended.exit_code, ended.state) == (None, "exited")
    await other.close()


def _has_waiter(kit: ProcessKit, container: str) -> bool:
    return process_runtime._locked(kit.folder / container)


async def test_after_a_reboot_nothing_runs_whatever_has_its_pid_now(kit: ProcessKit) -> None:
    made = await kit.runtime.start(kit.describe("stays"))
    file = kit.folder / made.id / "pid.json"
    rebooted = ProcessRuntime(kit.cluster, "n1", kit.folder, "boot2")
    written = json.loads(file.read_bytes())
    os.kill(written["waiter"], signal.SIGKILL)
    until(lambda: not _has_waiter(kit, made.id), what="the end of the waiter")
    (found,) = await rebooted.list()
    assert (found.state, found.exit_code) == ("exited", None)
    with pytest.raises(Gone):
        await rebooted.signal(made.id, "SIGKILL")
    assert lives(written["pid"])
    os.killpg(written["pid"], signal.SIGKILL)


async def test_a_pid_that_belongs_to_another_process_now_is_never_touched(kit: ProcessKit) -> None:
    made = await kit.runtime.start(kit.describe("stays"))
    file = kit.folder / made.id / "pid.json"
    written = json.loads(file.read_bytes())
    file.write_text(json.dumps(written | {"start": written["start"] - 1}))
    with pytest.raises(Gone):
        await kit.runtime.signal(made.id, "SIGKILL")
    assert lives(written["pid"])
    file.write_text(json.dumps(written))


async def test_what_the_process_started_ends_with_it(kit: ProcessKit, tmp_path: Path) -> None:
    note = tmp_path / "child"
    made = await kit.runtime.start(shell(kit, f"sleep 1000 & echo $! > {note}; sleep 0.1; exit 0"))
    await over(kit.runtime, made.alloc)
    child = int(note.read_text())
    await eventually(lambda: not _runs(child), what="the end of the child")


def _runs(child: int) -> bool:
    try:
        return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_command_is_over_at_its_own_end_whatever_it_leaves_behind(kit: ProcessKit, tmp_path: Path) -> None:
    made = await kit.runtime.start(kit.describe("stays"))
    left = tmp_path / "left"
    script = (
        f"setsid sh -c 'echo $$ >> {left}; exec sleep 1000' & while ! test -s {left}; do :; done; echo said; exit 3"
    )
    try:
        ran = await asyncio.wait_for(kit.runtime.exec(made.id, ("sh", "-c", script), 20.0), 10)
        assert (ran.exit_code, ran.output) == (3, "said\n")
    finally:
        os.kill(int(left.read_text()), signal.SIGKILL)


async def test_output_goes_to_files_of_the_attempt(kit: ProcessKit) -> None:
    made = await kit.runtime.start(shell(kit, "echo one; echo two >&2; pwd"))
    await over(kit.runtime, made.alloc)
    folder = kit.folder / made.id
    assert (folder / "stdout.log").read_text() == f"one\n{folder}/work\n"
    assert (folder / "stderr.log").read_text() == "two\n"


def test_of_long_output_the_end_is_kept_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "stdout.log"
    log.write_bytes(b"short")
    waiter.rotate("stdout.log", 1 << 16, 3)
    assert log.read_bytes() == b"short"
    with log.open("ab") as file:
        for number in range(40):
            file.write(bytes([65 + number]) * (1 << 14))
            file.flush()
            waiter.rotate("stdout.log", 1 << 16, 3)
    size = 5 + 40 * (1 << 14)
    status = log.stat()
    assert status.st_size == size, "whoever reads it finds his place again"
    assert 1 << 17 <= status.st_blocks * 512 <= 3 * (1 << 16) + 8192
    assert log.read_bytes()[-(1 << 14) :] == bytes([65 + 39]) * (1 << 14)


def test_where_no_holes_can_be_made_output_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(waiter, "_punched", lambda *_: False)
    (tmp_path / "stdout.log").write_bytes(b"x" * (1 << 18))
    waiter.rotate("stdout.log", 1 << 16, 3)
    assert (tmp_path / "stdout.log").read_bytes() == b""


async def test_without_control_groups_memory_is_measured(kit: ProcessKit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "make", lambda *_: cgroup.Group())
    made = await kit.runtime.start(kit.describe("greedy"))
    ended = await over(kit.runtime, made.alloc)
    assert (ended.oom, ended.exit_code) == (True, 137)


async def test_the_environment_is_the_tasks_own(kit: ProcessKit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEROCTL_JOIN_TOKEN", "hj_of_the_agent")
    made = await kit.runtime.start(shell(kit, "env"))
    await over(kit.runtime, made.alloc)
    said = (kit.folder / made.id / "stdout.log").read_text()
    assert "hj_of_the_agent" not in said
    assert "GREETING=hello there" in said
    assert "PATH=" in said
    assert (kit.folder / made.id / "run.json").stat().st_mode & 0o077 == 0


async def test_what_an_agent_left_half_made_is_cleared_away(kit: ProcessKit) -> None:
    (kit.folder / "new-a.1").mkdir()
    other = kit.again()
    await other.open()
    assert await other.list() == []
    assert not (kit.folder / "new-a.1").exists()


async def test_a_folder_without_a_waiter_was_made_and_not_started(kit: ProcessKit) -> None:
    described = kit.describe("stays")
    kit.runtime._prepare(kit.folder / f"{described.alloc}.1", described, cgroup.Group())
    (found,) = await kit.runtime.list()
    assert found.state == "created"
    await kit.runtime.remove(found.id)
    assert await kit.runtime.list() == []


async def test_signals_are_the_defaults_again_for_the_process(kit: ProcessKit) -> None:
    made = await kit.runtime.start(replace(kit.describe("stays"), command=("sleep", "1000")))
    await kit.runtime.signal(made.id, "SIGTERM")
    assert (await over(kit.runtime, made.alloc)).exit_code == 128 + signal.SIGTERM


async def test_a_disk_that_takes_nothing_fails_the_start_and_leaves_nothing(
    kit: ProcessKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", full)
        with pytest.raises(StartFailed, match="No space left"):
            await kit.runtime.start(replace(kit.describe("stays"), env={"A": "b"}, secret=True))
    assert list(kit.folder.iterdir()) == []
    assert [path for path in kit.memory.rglob("*") if path.is_file()] == []
    assert (await kit.runtime.start(kit.describe("stays"))).state == "running"
