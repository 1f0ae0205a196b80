"""What every runtime promises of a command that somebody is attached to."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agents.attached import Attached
from agents.runtime import Gone, Unavailable
from heroctl.domain.execs import PART, STDERR, STDOUT, Start
from tests.agents.kits import Kit, opened
from tests.needs import needs
from tests.waiting import eventually

KINDS = ["process", pytest.param("docker", marks=needs("docker"))]


@pytest.fixture(params=KINDS)
async def kit(request: pytest.FixtureRequest) -> AsyncIterator[Kit]:
    if request.param == "docker":
        request.getfixturevalue("test_image")
    async with opened(request.param) as made:
        yield made


@pytest.fixture
async def container(kit: Kit) -> str:
    return (await kit.runtime.start(kit.describe("stays"))).id


async def said(command: Attached) -> dict[int, bytes]:
    """Hear it out."""
    heard = {STDOUT: b"", STDERR: b""}
    async with asyncio.timeout(30):
        while (one := await command.read()) is not None:
            heard[one[0]] += one[1]
    return heard


async def until(command: Attached, wanted: bytes) -> bytes:
    heard = b""
    async with asyncio.timeout(30):
        while wanted not in heard:
            one = await command.read()
            assert one is not None, heard
            heard += one[1]
    return heard


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 7", 7), ("kill -TERM $$", 143), ("true", 0)],
)
async def test_its_end_is_told(kit: Kit, container: str, script: str, code: int) -> None:
    async with kit.runtime.attach(container, Start(("sh", "-c", script))) as command:
        await said(command)
        assert await command.wait() == code


async def test_both_outputs_come_apart_and_its_environment_is_the_workloads(kit: Kit, container: str) -> None:
    start = Start(("sh", "-c", 'echo "$GREETING"; echo oops >&2'))
    async with kit.runtime.attach(container, start) as command:
        assert await said(command) == {STDOUT: b"hello there\n", STDERR: b"oops\n"}


@pytest.mark.parametrize("program", ["no-such-program", "/etc/passwd"])
async def test_what_cannot_be_begun_says_so(kit: Kit, container: str, program: str) -> None:
    async with kit.runtime.attach(container, Start((program,))) as command:
        heard = await said(command)
        assert program.encode() in b"".join(heard.values())
        assert await command.wait() in (126, 127)


async def test_a_command_without_a_name_is_refused_in_a_line(kit: Kit, container: str) -> None:
    with contextlib.suppress(Gone, Unavailable):  # an engine may know better than to begin it
        async with kit.runtime.attach(container, Start(("",))) as command:
            heard = b"".join((await said(command)).values())
            assert heard.count(b"\n") <= 1, heard
            assert await command.wait() in (126, 127)


async def test_megabytes_go_in_and_come_back_unharmed(kit: Kit, container: str) -> None:
    given = os.urandom(5 << 20)
    async with kit.runtime.attach(container, Start(("cat",))) as command:

        async def give() -> None:
            for begin in range(0, len(given), PART):
                await command.write(given[begin : begin + PART])
            await command.end_input()

        giving = asyncio.create_task(give())
        heard = await said(command)
        await giving
        assert await command.wait() == 0
    assert hashlib.sha256(heard[STDOUT]).digest() == hashlib.sha256(given).digest()


async def test_a_terminal_has_the_size_that_it_is_given_and_passes_signals_on(kit: Kit, container: str) -> None:
    script = "trap 'stty size' WINCH; trap 'echo bye; exit 5' INT; echo r''eady; while :; do sleep 0.05; done"
    start = Start(("sh", "-c", script), tty=True, width=101, height=33)
    async with kit.runtime.attach(container, start) as command:
        await until(command, b"ready")
        await command.resize(90, 20)
        await until(command, b"20 90")
        await command.write(b"\x03")
        await until(command, b"bye")
        await said(command)
        assert await command.wait() == 5


async def test_a_terminal_is_one(kit: Kit, container: str) -> None:
    start = Start(
        ("sh", "-c", 'test -t 0 && test -t 1 && test -t 2 && echo "one: $TERM"; read x; echo "<$x>"'), tty=True
    )
    async with kit.runtime.attach(container, start) as command:
        await until(command, b"one: xterm")
        await command.write(b"typed\n")
        await until(command, b"<typed>")
        await said(command)
        assert await command.wait() == 0


async def test_whoever_leaves_ends_it_with_all_that_it_started(kit: Kit, container: str) -> None:
    word = f"9{os.getpid()}"
    start = Start(("sh", "-c", f"sleep {word} & echo begun; wait"))
    async with kit.runtime.attach(container, start) as command:
        await until(command, b"begun")
    await eventually(lambda: not _runs(f"sleep\0{word}"))


async def test_where_nothing_runs_nothing_is_begun(kit: Kit) -> None:
    ended = await kit.runtime.start(kit.describe("exits"))
    await eventually(lambda: _ended(kit, ended.alloc))
    with pytest.raises(Gone):
        async with kit.runtime.attach(ended.id, Start(("true",))):
            pass


async def _ended(kit: Kit, alloc: str) -> bool:
    (found,) = await kit.runtime.list(alloc)
    return found.state == "exited"


def _runs(words: str) -> bool:
    for told in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if words in told.read_text(errors="replace"):
                return True
    return False
