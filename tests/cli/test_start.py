"""The command line starts fast, hands over to processes, and ends cleanly."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from heroctl.cli import processes
from heroctl.cli.__main__ import run
from tests.cli import samples
from tests.cli.fake import FakeApi, Reply
from tests.waiting import until

HEAVY = ("aiodocker", "argon2", "cryptography", "docker", "granian", "jwt", "litestar", "psycopg", "redis", "uvloop")
COMMANDS = (["version"], ["--help"], ["job", "list"], ["job", "run", "--help"], ["node", "status", "x"])


def heroctl(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "heroctl.cli", *words]
    env = {**os.environ, "HEROCTL_CONTEXTS": str(Path(tempfile.gettempdir()) / "heroctl-none"), **more}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_command_imports_what_belongs_to_servers(words: list[str]) -> None:
    code = f"""
import sys
from heroctl.cli.__main__ import run
run({words!r})
print("loaded:", sorted({HEAVY!r} & sys.modules.keys()))
""".replace(repr(HEAVY), repr(set(HEAVY)))
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_version_takes_less_than_200_ms() -> None:
    def once() -> float:
        began = time.perf_counter()
        done = heroctl("version")
        assert done.stdout == f"heroctl {processes.version()}\n"
        return time.perf_counter() - began

    # The fastest of a few: the machine may be busy, the command may not be slow.
    assert min(once() for _ in range(5)) < 0.2


@pytest.mark.parametrize(
    ("words", "module"),
    [
        (("serve", "api", "--listen", "x"), "api"),
        (("serve", "reconciler", "--listen", "x"), "reconciler"),
        (("agent", "--listen", "x"), "agents"),
        (("dev", "--listen", "x"), "heroctl.dev"),
    ],
)
def test_processes_get_every_word_as_it_is(
    words: tuple[str, ...], module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Became(BaseException):
        pass

    def execv(file: str, command: list[str]) -> None:
        assert file == sys.executable
        raise Became(command)

    monkeypatch.setattr(os, "execv", execv)
    with pytest.raises(Became) as became:
        run(words)
    assert became.value.args[0] == [sys.executable, "-P", "-m", module, "--listen", "x"]


def test_the_tree_of_commands_is_shown_without_any() -> None:
    done = heroctl()
    assert done.returncode == 0
    for noun in ("job", "alloc", "node", "deployment", "context", "login", "serve", "agent", "dev", "status"):
        assert f"  {noun}: " in done.stdout
    assert "\x1b" not in done.stdout
    assert "─" not in done.stdout


def test_ctrl_c_while_waiting_ends_with_130_and_no_traceback(api: FakeApi, tmp_path: Path) -> None:
    api.act("POST", "/v1/jobs", Reply(201, samples.submitted(), 42))
    for page, body in (
        ("/v1/jobs/web", samples.job(healthy=0)),
        ("/v1/allocations", []),
        ("/v1/deployments/d0000001", samples.deployment()),
    ):
        api.page(page, body, 42)
    (tmp_path / "web.json").write_text("{}")
    command = [sys.executable, "-m", "heroctl.cli", "job", "run", str(tmp_path / "web.json"), "--address", api.address]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: len(api.requests) >= 7, what="all long polls")
        process.send_signal(2)
        assert process.wait(timeout=10) == 130
        assert process.stderr is not None
        told = process.stderr.read()
        assert "Traceback" not in told
        assert "it goes on without us: heroctl job status web --watch" in told


def test_a_reader_that_left_is_no_error(api: FakeApi) -> None:
    api.page("/v1/jobs", [samples.job()])
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "heroctl.cli", "job", "list", "--address", api.address]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(("closed", "code"), [("<&-", 0), (">&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0)])
def test_a_stream_that_is_closed_is_no_error(api: FakeApi, closed: str, code: int) -> None:
    api.page("/v1/jobs", [samples.job()])
    line = f'"{sys.executable}" -m heroctl.cli job list --address {api.address} {closed}'
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (code, "")


def test_a_command_without_standard_input_says_what_is_wrong_with_what_was_asked(api: FakeApi) -> None:
    line = f'"{sys.executable}" -m heroctl.cli alloc exec a1b2 --address {api.address} <&-'
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: "), done.stderr


def test_a_full_disk_is_told_in_a_line(api: FakeApi) -> None:
    api.page("/v1/jobs", [samples.job()])
    command = [sys.executable, "-m", "heroctl.cli", "job", "list", "--address", api.address]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "error: the output cannot be written: No space left on device\n")
