"""Commands in allocations, from the caller to the workload's side and back: two apis, one agent, real workloads."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from heroctl.domain.execs import (
    MOST,
    PART,
    PROTOCOL,
    STDIN,
    STDOUT,
    Data,
    Eof,
    Exit,
    Fault,
    Resize,
    Start,
    Started,
    data,
    said,
    text,
)
from tests.e2e.cluster import Cluster, Size
from tests.e2e.specs import job
from tests.waiting import until

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def size() -> Size:
    return Size(apis=2)


@pytest.fixture
def alloc(there: Cluster) -> str:
    """Give an allocation that runs."""
    there.submit(job(there.runtime, "web"))
    there.wait_deployed("web", 1)
    [found] = [each for each in there.allocations("web") if each["wanted"] == "run"]
    return str(found["id"])


def opened(there: Cluster, alloc: str, *, api: int = 1, token: str | None = None) -> ClientConnection:
    return dialled(there, f"/v1/allocations/{alloc}/exec", api=api, token=token)


def dialled(
    there: Cluster, path: str, *, api: int = 1, token: str | None = None, more: dict[str, str] | None = None
) -> ClientConnection:
    return connect(
        f"ws{there.url(api).removeprefix('http')}{path}",
        subprotocols=[Subprotocol(PROTOCOL)],
        additional_headers={
            "Authorization": f"Bearer {there.client.token if token is None else token}",
            **(more or {}),
        },
        max_size=MOST,
        compression=None,
        proxy=None,
        close_timeout=1,
    )


@contextlib.contextmanager
def running(there: Cluster, alloc: str, *words: str, api: int = 1, **more: Any) -> Iterator[ClientConnection]:  # noqa: ANN401 - fields of Start
    with opened(there, alloc, api=api) as peer:
        peer.send(text(Start(words, **more)))
        assert said(peer.recv(30)) == Started()
        yield peer


def heard(peer: ClientConnection) -> tuple[bytes, Exit | Fault]:
    """Hear it out."""
    written = b""
    while True:
        match said(peer.recv(30)):
            case Data(_, part):
                written += part
            case Exit() | Fault() as end:
                return written, end
            case Started():
                raise AssertionError("it was begun twice")


def until_written(peer: ClientConnection, wanted: bytes) -> None:
    written = b""
    while wanted not in written:
        one = said(peer.recv(30))
        assert isinstance(one, Data), one
        written += one.data


@pytest.mark.parametrize("api", [1, 2])
def test_it_ends_with_the_commands_exit_code_over_any_api(there: Cluster, alloc: str, api: int) -> None:
    with running(there, alloc, "sh", "-c", "echo hi; exit 4", api=api) as peer:
        assert heard(peer) == (b"hi\n", Exit(4))


def test_megabytes_go_there_and_back_unharmed(there: Cluster, alloc: str) -> None:
    given, written = os.urandom(5 << 20), hashlib.sha256()
    parts = [given[begin : begin + PART] for begin in range(0, len(given), PART)]
    with running(there, alloc, "cat") as peer:
        ahead = 0
        for part in parts:
            peer.send(data(STDIN, part))
            ahead += len(part)
            while ahead > 4 * PART:  # who only gives and takes nothing is made to wait, and so is this
                one = said(peer.recv(30))
                assert isinstance(one, Data)
                written.update(one.data)
                ahead -= len(one.data)
        peer.send(text(Eof()))
        rest, end = heard(peer)
    written.update(rest)
    assert (written.digest(), end) == (hashlib.sha256(given).digest(), Exit(0))


def test_a_terminal_follows_the_size_of_the_callers(there: Cluster, alloc: str) -> None:
    script = "trap 'stty size' WINCH; echo re''ady; while :; do sleep 0.05; done"
    with running(there, alloc, "sh", "-c", script, tty=True, width=101, height=33) as peer:
        until_written(peer, b"ready")
        peer.send(text(Resize(90, 20)))
        until_written(peer, b"20 90")
        peer.send(data(STDIN, b"\x03"))
        assert heard(peer)[1] == Exit(130)


def test_what_was_run_by_whom_and_how_it_ended_is_in_the_audit_and_what_was_said_is_not(
    there: Cluster, alloc: str
) -> None:
    with running(there, alloc, "sh", "-c", "read x; echo $x; exit 3") as peer:
        peer.send(data(STDIN, b"between us\n"))
        assert heard(peer) == (b"between us\n", Exit(3))
    ended, begun = until(lambda: _audited(there, "exec_ended", 2), what="its end in the audit")[:2]
    assert begun["data"]["command"] == ["sh", "-c", "read x; echo $x; exit 3"]
    assert (begun["actor"], begun["request_id"]) == ("user:admin", ended["request_id"])
    assert (ended["data"]["exit_code"], ended["data"]["received"], ended["data"]["sent"]) == (3, 11, 11)
    assert "between us" not in str(there.client.get("/v1/audit").body)
    told = there.client.get("/v1/events", topic="job:web").body
    assert all("command" not in each["data"] for each in told), "viewers of events are not told what was run"


def _audited(there: Cluster, last: str, count: int) -> list[dict[str, Any]]:
    found = [each for each in there.client.get("/v1/audit").body if each["type"].startswith("alloc.exec")]
    return found[:count] if found and found[0]["type"] == f"alloc.{last}" else []


def test_a_caller_who_leaves_takes_the_command_along(there: Cluster, alloc: str) -> None:
    word = f"8{os.getpid()}"
    with running(there, alloc, "sh", "-c", f"sleep {word} & echo begun; wait") as peer:
        until_written(peer, b"begun")
        until(lambda: _runs(f"sleep\0{word}"), what="its child")
    until(lambda: not _runs(f"sleep\0{word}"), what="the end of the command")
    [ended] = until(lambda: _audited(there, "exec_ended", 1), what="its end in the audit")
    assert ended["data"]["reason"] == "exec_left"


def test_an_agent_that_dies_is_told_and_one_that_is_back_runs_commands_again(there: Cluster, alloc: str) -> None:
    with running(there, alloc, "sleep", "600") as peer:
        there.parts["agent-1"].kill9()
        written, end = heard(peer)
        assert isinstance(end, Fault)
        assert (written, end.error) == (b"", "exec_lost")
    there.restart("agent-1")
    with running(there, alloc, "echo", "back") as peer:
        assert heard(peer) == (b"back\n", Exit(0))


def test_the_end_of_an_allocation_ends_what_was_run_in_it(there: Cluster, alloc: str) -> None:
    with running(there, alloc, "sleep", "600") as peer:
        there.client.post(f"/v1/allocations/{alloc}/stop", {})
        end = heard(peer)[1]
        assert end == Exit(137) or (isinstance(end, Fault) and end.error == "allocation_over")


def test_an_api_that_ends_says_so(there: Cluster, alloc: str) -> None:
    with running(there, alloc, "sleep", "600", api=2) as peer:
        there.parts["api-2"].stop()
        end = heard(peer)[1]
        assert isinstance(end, Fault)
        assert end.error == "api_stopping"
    there.parts["api-2"].start()


def test_who_may_not_is_refused_and_a_right_that_is_taken_ends_what_runs(there: Cluster, alloc: str) -> None:
    made = [
        there.client.post("/v1/acl/tokens", {"name": name, "roles": [name]}).body for name in ("deployer", "operator")
    ]
    with pytest.raises(InvalidStatus) as refused:
        opened(there, alloc, token=made[0]["secret"])
    assert refused.value.response.status_code == 403
    assert b'"forbidden"' in (refused.value.response.body or b"")
    with pytest.raises(InvalidStatus) as refused:
        opened(there, alloc, token="")
    assert refused.value.response.status_code == 401
    with pytest.raises(InvalidStatus) as refused:
        opened(there, "nobody")
    assert refused.value.response.status_code == 404
    with opened(there, alloc, token=made[1]["secret"]) as peer:
        peer.send(text(Start(("sleep", "600"))))
        assert said(peer.recv(30)) == Started()
        there.client.delete(f"/v1/acl/tokens/{made[1]['id']}")
        end = heard(peer)[1]
        assert isinstance(end, Fault)
        assert end.error == "token_invalid"


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", ""])
def test_a_page_in_a_browser_is_refused_whatever_its_token(there: Cluster, alloc: str, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        dialled(there, f"/v1/allocations/{alloc}/exec", more={"Origin": origin})
    assert refused.value.response.status_code == 403
    assert b'"browser_refused"' in (refused.value.response.body or b"")


def test_a_ticket_is_good_once_and_for_its_node_only(there: Cluster, alloc: str) -> None:
    with running(there, alloc, "sleep", "600"):
        [begun] = until(lambda: _audited(there, "exec_requested", 1), what="it in the audit")
        ticket = begun["data"]["exec"]
        with pytest.raises(InvalidStatus) as refused:
            dialled(there, f"/v1/agent/exec/{ticket}", token=_node_token(there))
        assert refused.value.response.status_code == 404, "it was used"
        with pytest.raises(InvalidStatus) as refused:
            dialled(there, f"/v1/agent/exec/{ticket}")
        assert refused.value.response.status_code == 403, "users are no agents"


def _node_token(there: Cluster) -> str:
    return str(json.loads((there.folder / "agent-1" / "identity.json").read_text())["token"])


@pytest.mark.parametrize(
    "first",
    ["nonsense", "{}", '{"type":"start","command":[]}', text(Eof()), data(STDIN, b"x"), text(Start(("x" * 9000,)))],
    ids=["nonsense", "empty", "no-command", "eof", "data", "long"],
)
def test_what_cannot_be_understood_is_refused(there: Cluster, alloc: str, first: str | bytes) -> None:
    with opened(there, alloc) as peer:
        peer.send(first)
        end = said(peer.recv(30))
        assert isinstance(end, Fault)
        assert end.error == "invalid_body"
        with pytest.raises(ConnectionClosed):
            peer.recv(30)


def test_a_message_that_is_none_ends_it(there: Cluster, alloc: str) -> None:
    with running(there, alloc, "cat") as peer:
        peer.send(data(STDOUT, b"x"))
        end = heard(peer)[1]
        assert isinstance(end, Fault)
        assert end.error == "invalid_body"


def heroctl(there: Cluster, *words: str) -> tuple[list[str], dict[str, str]]:
    environ = {**os.environ, "HEROCTL_ADDR": there.url(), "HEROCTL_TOKEN": there.client.token, "TERM": "xterm"}
    return [sys.executable, "-m", "heroctl.cli", "alloc", "exec", *words], environ


def test_the_command_line_passes_pipes_and_the_exit_code_on(there: Cluster, alloc: str) -> None:
    command, environ = heroctl(there, alloc[:6], "--", "sh", "-c", "cat; echo oops >&2; exit 9")
    done = subprocess.run(command, env=environ, input=b"a\0b\n" * 50_000, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (9, b"a\0b\n" * 50_000, b"oops\n")


def test_the_command_line_says_why_nothing_was_run(there: Cluster, alloc: str) -> None:
    command, environ = heroctl(there, "nobody", "--", "true")
    done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert b"allocation 'nobody' does not exist" in done.stderr
    command, environ = heroctl(there, "--tty", alloc, "--", "true")
    done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert b"leave out --tty" in done.stderr


def test_the_command_line_gives_its_terminal_and_leaves_it_as_it_was(there: Cluster, alloc: str) -> None:
    command, environ = heroctl(there, alloc)
    terminal, its = os.openpty()
    _resize(terminal, 100, 30)
    before = termios.tcgetattr(its)
    shell = subprocess.Popen(command, env=environ, stdin=its, stdout=its, stderr=its, start_new_session=True)
    try:
        os.write(terminal, b"stty size; echo re''ady\n")
        assert b"30 100" in _shown(terminal, b"ready\r\n")
        _resize(terminal, 77, 20)
        os.kill(shell.pid, signal.SIGWINCH)  # which the kernel sends to whom it is the controlling terminal of
        os.write(terminal, b"while ! stty size | grep '20 77'; do sleep 0.1; done; exit 7\n")
        _shown(terminal, b"20 77\r\n")
        assert shell.wait(30) == 7
        assert termios.tcgetattr(its) == before
    finally:
        shell.kill()
        shell.wait()
        os.close(its)
        os.close(terminal)


def _resize(terminal: int, width: int, height: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


def _shown(terminal: int, wanted: bytes) -> bytes:
    shown = b""
    while wanted not in shown:
        assert select.select([terminal], [], [], 30)[0], shown
        shown += os.read(terminal, 4096)
    return shown


def _runs(words: str) -> bool:
    for told in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if words in told.read_text(errors="replace"):
                return True
    return False
