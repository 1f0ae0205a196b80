"""What every runtime promises: one suite over the fake, plain processes and Docker."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from agents.container import Container, Content
from agents.memory import in_memory
from agents.runtime import Gone, ImageAbsent, PortInUse, Runtime, StartFailed, StartFault, Unavailable
from heroctl.domain.spec import Volume
from tests.agents.kits import DockerKit, Kit, ProcessKit, free_port, opened
from tests.needs import needs
from tests.waiting import eventually

KINDS = ["fake", "process", pytest.param("docker", marks=needs("docker"))]


@pytest.fixture(params=KINDS)
async def kit(request: pytest.FixtureRequest) -> AsyncIterator[Kit]:
    if request.param == "docker":
        request.getfixturevalue("test_image")
    async with opened(request.param) as made:
        yield made


@contextlib.asynccontextmanager
async def listening(runtime: Runtime) -> AsyncIterator[Callable[[str], bool]]:
    """Listen to ends from here on; the value tells whether one was heard of an allocation."""
    heard: list[str] = []
    ready = asyncio.Event()

    async def listen() -> None:
        async for alloc in runtime.exits():
            heard.append(alloc)
            ready.set()

    task = asyncio.create_task(listen())
    await asyncio.wait_for(ready.wait(), 5)
    try:
        yield lambda alloc: alloc in heard
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def only(runtime: Runtime, alloc: str) -> Container:
    (found,) = await runtime.list(alloc)
    return found


async def ended(runtime: Runtime, alloc: str) -> Container:
    async def look() -> bool:
        return (await only(runtime, alloc)).state == "exited"

    await eventually(look, what="the end of a container")
    return await only(runtime, alloc)


async def test_what_is_started_runs_and_is_listed(kit: Kit) -> None:
    described = kit.describe("stays", attempt=2, port=free_port())
    made = await kit.runtime.start(described)
    assert (made.alloc, made.digest, made.attempt, made.state) == (described.alloc, "d1", 2, "running")
    assert made.ports == {"http": described.ports[0].host}
    listed = await only(kit.runtime, described.alloc)
    assert (listed.id, listed.state, listed.incarnation, listed.ports) == (made.id, "running", "i1", made.ports)
    assert listed.started_at is not None
    assert abs(listed.started_at - time.monotonic()) < 5
    assert [one.id for one in await kit.runtime.list()] == [made.id]
    assert await kit.runtime.list("another") == []


async def test_an_end_is_heard_and_its_code_is_kept(kit: Kit) -> None:
    async with listening(kit.runtime) as heard:
        described = kit.describe("exits")
        made = await kit.runtime.start(described)
        await eventually(lambda: heard(described.alloc), what="the news of the end")
        seen = await only(kit.runtime, described.alloc)  # who hears looks once, and must see it then
        assert (seen.id, seen.state, seen.exit_code, seen.oom, seen.started_at) == (made.id, "exited", 3, False, None)


async def test_a_signal_ends_what_listens(kit: Kit) -> None:
    async with listening(kit.runtime) as heard:
        made = await kit.runtime.start(kit.describe("stays"))
        await kit.runtime.signal(made.id, "SIGTERM")
        await eventually(lambda: heard(made.alloc), what="the news of the end")
        assert (await ended(kit.runtime, made.alloc)).exit_code in (0, 143)


async def test_any_signal_reaches_the_workload(kit: Kit) -> None:
    async with listening(kit.runtime) as heard:
        made = await kit.runtime.start(kit.describe("hangs up"))
        await eventually(lambda: _ready(kit.runtime, made.id), what="a workload that listens")
        await kit.runtime.signal(made.id, "SIGHUP")
        await eventually(lambda: heard(made.alloc), what="the news of the end")
        assert (await ended(kit.runtime, made.alloc)).exit_code == 7


async def _ready(runtime: Runtime, container: str) -> bool:
    return "ready" in await runtime.output(container)


async def test_what_does_not_listen_is_killed(kit: Kit) -> None:
    made = await kit.runtime.start(kit.describe("deaf"))
    await kit.runtime.signal(made.id, "SIGTERM")
    assert (await only(kit.runtime, made.alloc)).state == "running"
    await kit.runtime.signal(made.id, "SIGKILL")
    assert (await ended(kit.runtime, made.alloc)).exit_code == 137


async def test_what_has_ended_can_be_removed_and_what_runs_cannot(kit: Kit) -> None:
    made = await kit.runtime.start(kit.describe("stays"))
    with pytest.raises(Unavailable):
        await kit.runtime.remove(made.id)
    assert (await only(kit.runtime, made.alloc)).state == "running"
    await kit.runtime.signal(made.id, "SIGKILL")
    await ended(kit.runtime, made.alloc)
    await kit.runtime.remove(made.id)
    await kit.runtime.remove(made.id)
    assert await kit.runtime.list() == []


async def test_what_does_not_run_hears_no_signal_and_no_command(kit: Kit) -> None:
    made = await kit.runtime.start(kit.describe("exits"))
    await ended(kit.runtime, made.alloc)
    for container in (made.id, "f" * 64):
        with pytest.raises(Gone):
            await kit.runtime.signal(container, "SIGTERM")
        with pytest.raises(Gone):
            await kit.runtime.exec(container, ("true",), 1.0)


async def test_a_program_that_is_not_there_is_refused_and_nothing_is_left(kit: Kit) -> None:
    with pytest.raises(StartFailed, match=r"(?i)no such"):
        await kit.runtime.start(kit.describe("refused"))
    assert await kit.runtime.list() == []


@pytest.mark.parametrize("kit", [kind for kind in KINDS if kind != "process"], indirect=True)
async def test_an_image_that_is_nowhere_is_absent_first_and_missing_then(kit: Kit) -> None:
    described = kit.describe("unknown image")
    with pytest.raises(ImageAbsent):
        await kit.runtime.start(described)
    with pytest.raises(StartFault) as refused:
        await kit.runtime.pull(described.image)
    assert refused.value.fault.reason == "image_missing"
    assert await kit.runtime.list() == []


async def test_another_agent_finds_what_the_first_one_started_and_hears_of_its_end(kit: Kit) -> None:
    made = await kit.runtime.start(kit.describe("stays", port=free_port()))
    other = kit.again()
    await other.open()
    try:
        async with listening(other) as heard:
            found = await only(other, made.alloc)
            assert (found.id, found.state, found.ports) == (made.id, "running", made.ports)
            await other.signal(made.id, "SIGKILL")
            await eventually(lambda: heard(made.alloc), what="the news of the end")
            assert (await ended(other, made.alloc)).exit_code == 137
    finally:
        await other.close()


@pytest.mark.parametrize("kit", [kind for kind in KINDS if kind != "fake"], indirect=True)
async def test_a_port_that_someone_holds_is_named_and_nothing_is_left(kit: Kit) -> None:
    with socket.socket() as holder:
        holder.bind(("", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(PortInUse) as refused:
            await kit.runtime.start(kit.describe("stays", port=port))
        assert refused.value.fault.port == port
    assert await kit.runtime.list() == []


@pytest.mark.parametrize("kit", [kind for kind in KINDS if kind != "fake"], indirect=True)
async def test_a_port_leads_to_the_workload(kit: Kit) -> None:
    made = await kit.runtime.start(kit.describe("serves", port=free_port()))
    address, port = await kit.runtime.endpoint(made.id, "http")

    async def answers(target: tuple[str, int]) -> bool:
        try:
            reader, writer = await asyncio.open_connection(*target)
        except OSError:
            return False
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        answer = await reader.read()
        writer.close()
        return b"HTTP/1" in answer

    await eventually(lambda: answers((address, port)), what="an answer to this machine")
    await eventually(lambda: answers(("127.0.0.1", made.ports["http"])), what="an answer on the host port")


async def test_a_port_that_nobody_named_leads_nowhere(kit: Kit) -> None:
    made = await kit.runtime.start(kit.describe("stays", port=free_port()))
    with pytest.raises(Gone):
        await kit.runtime.endpoint(made.id, "grpc")


async def test_a_command_runs_beside_the_workload(kit: Kit) -> None:
    made = await kit.runtime.start(kit.describe("stays"))
    assert (await kit.runtime.exec(made.id, ("true",), 5.0)).exit_code == 0
    with pytest.raises(TimeoutError):
        await kit.runtime.exec(made.id, ("sleep", "30"), 0.3)
    assert (await only(kit.runtime, made.alloc)).state == "running"


@pytest.mark.parametrize("kit", [kind for kind in KINDS if kind != "fake"], indirect=True)
async def test_a_command_sees_the_environment_and_its_code_and_output_are_told(kit: Kit) -> None:
    made = await kit.runtime.start(kit.describe("stays"))
    ran = await kit.runtime.exec(made.id, ("sh", "-c", 'echo "$GREETING"; exit 4'), 5.0)
    assert (ran.exit_code, ran.output.strip()) == (4, "hello there")
    assert (await kit.runtime.exec(made.id, ("/no/such/program",), 5.0)).exit_code in (126, 127)


@pytest.mark.parametrize("kit", [kind for kind in KINDS if kind != "fake"], indirect=True)
async def test_a_command_that_takes_too_long_ends_with_all_that_it_started(kit: Kit) -> None:
    made = await kit.runtime.start(kit.describe("stays"))
    seconds = str(random.randint(10**6, 10**7))  # like no other's on this machine
    for script in (f"sleep {seconds}; true", f"sleep {seconds} & setsid sleep {seconds} & wait"):
        with pytest.raises(TimeoutError):
            await kit.runtime.exec(made.id, ("sh", "-c", script), 0.5)
        await eventually(lambda: not _runs(seconds), what="the end of the command")
    assert (await only(kit.runtime, made.alloc)).state == "running"


def _runs(word: str) -> bool:
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if word.encode() in line.read_bytes().split(b"\0"):
                return True
    return False


@pytest.mark.parametrize("kit", [kind for kind in KINDS if kind != "fake"], indirect=True)
async def test_a_command_that_says_a_lot_is_heard_to_its_end(kit: Kit) -> None:
    made = await kit.runtime.start(kit.describe("stays"))
    ran = await kit.runtime.exec(made.id, ("sh", "-c", "yes no | head -c 3000000; echo last; exit 2"), 20.0)
    assert (ran.exit_code, len(ran.output), ran.output[-5:]) == (2, 1024, "last\n")


async def test_the_last_lines_of_what_ended_are_told(kit: Kit) -> None:
    made = await kit.runtime.start(kit.describe("talks"))
    await ended(kit.runtime, made.alloc)
    assert (await kit.runtime.output(made.id)).split("\n") == ["four", "five \ufffd", "red", "seven", "eight"]
    quiet = await kit.runtime.start(kit.describe("exits"))
    await ended(kit.runtime, quiet.alloc)
    assert await kit.runtime.output(quiet.id) == await kit.runtime.output("f" * 64) == ""


async def test_a_name_is_there_only_once(kit: Kit) -> None:
    described = kit.describe("stays")
    made = await kit.runtime.start(described)
    with pytest.raises(Unavailable):
        await kit.runtime.start(described)
    assert (await only(kit.runtime, made.alloc)).id == made.id


async def test_too_much_memory_is_an_end_that_says_so(kit: Kit) -> None:
    made = await kit.runtime.start(kit.describe("greedy"))
    seen = await ended(kit.runtime, made.alloc)
    assert (seen.oom, seen.exit_code) == (True, 137)


async def test_many_start_side_by_side(kit: Kit) -> None:
    made = await asyncio.gather(*(kit.runtime.start(kit.describe("stays")) for _ in range(10)))
    assert {one.id for one in made} == {one.id for one in await kit.runtime.list()}


@pytest.mark.parametrize("kit", [kind for kind in KINDS if kind != "fake"], indirect=True)
async def test_containers_of_another_cluster_are_not_seen(kit: Kit) -> None:
    made = await kit.runtime.start(kit.describe("stays"))
    own, kit.cluster = kit.cluster, "another"
    other = kit.again()
    kit.cluster = own
    await other.open()
    try:
        assert await other.list() == []
        assert await other.list(made.alloc) == []
    finally:
        await other.close()


async def test_health_tells_the_version(kit: Kit) -> None:
    driver = await kit.runtime.health()
    assert driver.healthy
    assert driver.version


# ── files, volumes, variables ────────────────────────────────────────────────────────────────────────────────────────


async def said(kit: Kit, container: Container, *command: str) -> str:
    ran = await kit.runtime.exec(container.id, command, 5.0)
    assert ran.exit_code == 0, ran.output
    return ran.output


def secrets_in_memory(kit: Kit) -> list[str]:
    return [path.read_text() for path in kit.memory.rglob("*") if path.is_file()]


async def test_files_are_where_the_workload_reads_them(kit: Kit) -> None:
    plain, deep = kit.path("app.conf"), kit.path("etc/shop/app.conf")
    files = (Content(plain, b"port = 80\n", 0o440), Content(deep, b"pa$$ ${word}", 0o400, secret=True))
    made = await kit.runtime.start(replace(kit.describe("stays"), files=files))
    assert await said(kit, made, "cat", plain) == "port = 80\n"
    assert await said(kit, made, "cat", deep) == "pa$$ ${word}"
    assert (await kit.runtime.exec(made.id, ("cat", kit.path("other")), 5.0)).exit_code == 1


@pytest.mark.parametrize("kit", [kind for kind in KINDS if kind != "fake"], indirect=True)
async def test_a_secret_file_is_in_memory_only_and_goes_with_its_container(kit: Kit) -> None:
    secret = Content(kit.path("word"), b"open sesame", 0o400, secret=True)
    made = await kit.runtime.start(replace(kit.describe("stays"), files=(secret,)))
    assert secrets_in_memory(kit) == ["open sesame"]
    assert in_memory(kit.memory)
    assert kit.memory.stat().st_mode & 0o777 == 0o700
    await kit.runtime.list()
    assert secrets_in_memory(kit) == ["open sesame"], "a look at everything takes nothing away that is in use"
    await kit.runtime.signal(made.id, "SIGKILL")
    await ended(kit.runtime, made.alloc)
    await kit.runtime.remove(made.id)
    assert secrets_in_memory(kit) == []


@pytest.mark.parametrize("kit", [kind for kind in KINDS if kind != "fake"], indirect=True)
async def test_what_an_agent_left_that_was_killed_is_swept_by_the_next_one(kit: Kit) -> None:
    secret = Content(kit.path("word"), b"open sesame", 0o400, secret=True)
    made = await kit.runtime.start(replace(kit.describe("stays"), files=(secret,)))
    [found] = [path for path in kit.memory.rglob("*") if path.is_file()]
    left = found.parent.with_name("nobody.1")
    left.mkdir()
    (left / "0").write_text("left behind")
    other = kit.again()
    await other.open()
    try:
        await other.list(made.alloc)
        assert len(secrets_in_memory(kit)) == 2, "who looks at one allocation knows nothing of the others"
        assert [one.id for one in await other.list()] == [made.id]
    finally:
        await other.close()
    assert secrets_in_memory(kit) == ["open sesame"]


@pytest.mark.parametrize("kit", [kind for kind in KINDS if kind != "fake"], indirect=True)
async def test_of_what_is_not_started_no_secret_is_left(kit: Kit) -> None:
    secret = Content(kit.path("word"), b"open sesame", 0o400, secret=True)
    env = {"PASSWORD": "open sesame"}
    with pytest.raises(StartFailed):
        await kit.runtime.start(replace(kit.describe("refused"), files=(secret,), env=env, secret=True))
    assert secrets_in_memory(kit) == []


@pytest.mark.parametrize("kit", [kind for kind in KINDS if kind != "fake"], indirect=True)
async def test_a_named_volume_outlives_what_wrote_to_it(kit: Kit) -> None:
    volume = (Volume("data", kit.path("data")),)
    first = await kit.runtime.start(replace(kit.describe("stays"), volumes=volume))
    await said(kit, first, "sh", "-c", f"echo kept > {kit.path('data')}/word")
    await kit.runtime.signal(first.id, "SIGKILL")
    await ended(kit.runtime, first.alloc)
    await kit.runtime.remove(first.id)
    second = await kit.runtime.start(replace(kit.describe("stays"), volumes=volume))
    assert await said(kit, second, "cat", f"{kit.path('data')}/word") == "kept\n"
    other = await kit.runtime.start(replace(kit.describe("stays"), volumes=volume, namespace="other"))
    assert await said(kit, other, "ls", f"{kit.path('data')}/") == "", "names are those of a namespace"


@pytest.mark.parametrize("kit", [kind for kind in KINDS if kind != "fake"], indirect=True)
async def test_variables_that_are_secret_are_seen_and_go_with_their_container(kit: Kit) -> None:
    env = {"PASSWORD": "open sesame"}
    made = await kit.runtime.start(replace(kit.describe("stays"), env=env, secret=True))
    assert await said(kit, made, "sh", "-c", 'echo "$PASSWORD"') == "open sesame\n"
    assert isinstance(kit, DockerKit | ProcessKit)
    assert kit.folder is not None
    on_disk = [path for path in kit.folder.parent.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in on_disk if b"open sesame" in path.read_bytes()] == []
    other = kit.again()
    await other.open()
    try:
        ran = await other.exec(made.id, ("sh", "-c", 'echo "$PASSWORD"'), 5.0)
        assert ran.output == "open sesame\n", "the next agent knows them, too"
    finally:
        await other.close()
    await kit.runtime.signal(made.id, "SIGKILL")
    await ended(kit.runtime, made.alloc)
    await kit.runtime.remove(made.id)
    assert secrets_in_memory(kit) == []
