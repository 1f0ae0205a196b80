"""What answers mean, and how they are got."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agents.container import Container
from agents.fake_runtime import FakeRuntime, Script
from agents.health import Probe, Prober, Pulse, born, heard, news, pause, watch
from heroctl.domain.duration import Duration
from heroctl.domain.spec import Health, Port, Task
from tests.agents.clocks import ManualClock
from tests.agents.kits import description, free_port
from tests.waiting import eventually

CHECK = Health(http="/", interval=Duration.of(10), retries=3, start_period=Duration.of(5))
ONE = Container("c1", "a", "d1", 1, "running", started_at=100.0)


def after(*answers: str, age: float = 60.0) -> Pulse:
    pulse = born(CHECK, ONE, 1, 100.0)
    for number, said in enumerate(answers):
        pulse = heard(pulse, CHECK, said, age, 200.0 + number)
    return pulse


def test_without_a_check_what_runs_is_healthy_from_its_start() -> None:
    assert born(None, ONE, 1, 150.0) == Pulse("c1", 1, "healthy", 100.0)


def test_one_yes_makes_healthy_and_the_first_of_them_counts() -> None:
    assert born(CHECK, ONE, 1, 150.0).health == "unknown"
    assert after("", "", "") == Pulse("c1", 1, "healthy", 200.0)


def test_so_many_noes_in_a_row_make_unhealthy() -> None:
    assert after("", "no", "no").health == "healthy"
    unhealthy = after("", "no", "no", "status 500")
    assert (unhealthy.health, unhealthy.since, unhealthy.said) == ("unhealthy", None, "status 500")
    assert after("", "no", "no", "", "no", "no").health == "healthy"
    assert after("no", "no", "no", "") == Pulse("c1", 1, "healthy", 203.0)


def test_in_the_start_period_a_no_does_not_count_until_the_first_yes() -> None:
    assert after("no", "no", "no", "no", age=4.0).health == "unknown"
    assert after("", "no", "no", "no", age=4.0).health == "unhealthy"


@given(st.lists(st.sampled_from(["", "no"]), max_size=30), st.floats(0, 20))
def test_healthy_means_a_yes_and_fewer_noes_since_than_allowed(answers: list[str], age: float) -> None:
    pulse = after(*answers, age=age)
    trailing = len(answers) - 1 - max((n for n, said in enumerate(answers) if not said), default=-1)
    if pulse.health == "healthy":
        assert "" in answers
        assert trailing < CHECK.retries
    assert (pulse.since is not None) == (pulse.health == "healthy")


@given(
    st.lists(
        st.tuples(st.sampled_from(["yes", "no", "no answer", "crash"]), st.floats(0.1, 30)), min_size=1, max_size=40
    ),
    st.integers(1, 4),
    st.sampled_from([0, 5, 60]),
)
def test_what_health_means_however_it_goes(happened: list[tuple[str, float]], retries: int, start_period: int) -> None:
    """Never healthy before a yes, unhealthy only by so many noes in a row that count; a crash begins it all anew."""
    check = replace(CHECK, retries=retries, start_period=Duration.of(start_period))
    now = started = 100.0
    container = ONE
    pulse = born(check, container, 1, now)
    counted: list[str] = []  # of this container: the answers that count, in order
    healthy_at: float | None = None
    for what, later in happened:
        now += later
        if what == "crash":
            started, counted, healthy_at = now, [], None
            container = replace(container, id=container.id + "'", started_at=now)
            pulse = born(check, container, 1, now)
        elif what != "no answer":
            pulse = heard(pulse, check, "" if what == "yes" else "no", now - started, now)
            if what == "yes" or "yes" in counted or now - started >= start_period:
                counted.append(what)
        noes = len(counted) - 1 - max((n for n, one in enumerate(counted) if one == "yes"), default=-1)
        expected = "unhealthy" if noes >= retries else "healthy" if "yes" in counted else "unknown"
        healthy_at = (now if healthy_at is None else healthy_at) if expected == "healthy" else None
        assert (pulse.container, pulse.health, pulse.since) == (container.id, expected, healthy_at)


def test_others_hear_of_another_health_and_of_the_first_no_that_counts() -> None:
    unknown, once, twice, healthy = born(CHECK, ONE, 1, 0.0), after("no"), after("no", "no"), after("")
    assert news(None, unknown)
    assert news(unknown, once)
    assert not news(once, twice)
    assert news(twice, after("no", "no", "no"))
    assert news(once, healthy)
    assert not news(healthy, after("", "no"))
    starting = [after(*["no"] * times, age=1.0) for times in (1, 9, 10, 11)]
    assert [news(unknown, starting[0]), news(starting[0], starting[1])] == [False, False]
    assert [news(starting[1], starting[2]), news(starting[2], starting[3])] == [True, False]


def test_a_young_container_is_asked_more_often() -> None:
    unknown = born(CHECK, ONE, 1, 0.0)
    assert [pause(unknown, CHECK, age) for age in (0.0, 1.0, 4.0, 5.0)] == [0.25, 0.5, 1.0, 10.0]
    assert pause(after(""), CHECK, 1.0) == 10.0


async def test_it_is_asked_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, told = ManualClock(now=160.0), list[Pulse]()
    answers = iter(["", "no", "no", "no", ""])

    async def probe(*_: object) -> str:
        return next(answers)

    watching = asyncio.create_task(
        watch(Task("web", health=CHECK), ONE, born(CHECK, ONE, 1, 160.0), probe, clock, told=told.append)
    )
    await clock.advance(39.0)
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    assert [pulse.health for pulse in told] == ["healthy", "healthy", "healthy", "unhealthy"]
    assert told[0].since == 160.0


# ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Listen on a port; answer so, or (None) never."""
    asked: list[bytes] = []
    handling: set[asyncio.Task[object]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        current = asyncio.current_task()
        assert current is not None
        handling.add(current)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            if answer is not None:
                writer.write(answer)
            else:
                await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], asked
        await asyncio.wait_for(asyncio.gather(*handling, return_exceptions=True), 5)


async def workload(port: int, script: Script | None = None) -> tuple[Probe, Container]:
    runtime = FakeRuntime(ManualClock())
    runtime.scripts["x"] = script or Script()
    made = await runtime.start(description("test", "a", 1, port, image="x"))
    return Prober(runtime), made


def task(check: Health) -> Task:
    fast = replace(check, timeout=Duration.of(0.3))
    return Task("web", health=fast, ports={"http": Port(8080)})


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.0 204 No Content\r\n\r\n", ""),
        (b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\n\r\n", ""),
        (b"HTTP/1.1 199 Odd\r\n\r\n", "GET /ready?x=1 answered 199"),
        (b"HTTP/1.1 399 Odd\r\n\r\n", ""),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "GET /ready?x=1 answered 400"),
        (b"HTTP/1.1 500 " + b"o" * 900 + b"ps\r\n\r\n", "GET /ready?x=1 answered 500"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "GET /ready?x=1 did not answer with HTTP"),
        (b"x" * 5000, "GET /ready?x=1 did not answer with HTTP"),
        (b"", "GET /ready?x=1 did not answer with HTTP"),
        (None, "GET /ready?x=1: no answer within 300ms"),
    ],
)
async def test_http_looks_at_the_status(answer: bytes | None, said: str) -> None:
    async with answering(answer) as (port, asked):
        probe, made = await workload(port)
        assert await probe(task(Health(http="/ready?x=1")), made) == said
        assert asked[0].startswith(b"GET /ready?x=1 HTTP/1.1\r\nHost: 127.0.0.1:")


async def test_tcp_looks_whether_someone_listens() -> None:
    async with answering(None) as (port, _):
        probe, made = await workload(port)
        assert await probe(task(Health(tcp="http")), made) == ""
    port = free_port()
    probe, made = await workload(port)
    assert await probe(task(Health(tcp="http")), made) == f"tcp http: Connection refused (127.0.0.1:{port})"


async def test_a_command_is_asked_for_its_exit_code() -> None:
    check = task(Health(command=("true",)))
    for script, said in ((Script(), ""), (Script(healthy=False), "command: exit code 1\nnot healthy")):
        probe, made = await workload(0, script)
        assert await probe(check, made) == said


async def test_where_a_port_leads_is_asked_again_after_it_led_nowhere() -> None:
    runtime = FakeRuntime(ManualClock())
    made = await runtime.start(description("test", "a", 1, free_port(), image="x"))
    probe, check = Prober(runtime), task(Health(tcp="http"))
    assert "refused" in (await probe(check, made) or "")
    async with answering(None) as (port, _):
        runtime.containers[made.id] = replace(made, ports={"http": port})
        assert await probe(check, made) == ""


async def test_what_cannot_be_asked_says_nothing_of_the_workload() -> None:
    runtime = FakeRuntime(ManualClock())
    made = await runtime.start(description("test", "a", 1, free_port(), image="x"))
    runtime.away = True
    assert await Prober(runtime)(task(Health(command=("true",))), made) is None
    runtime.away = False
    runtime.end(made.id, 1)
    for check in (Health(command=("true",)), Health(tcp="http")):
        assert await Prober(runtime)(task(check), made) is None


async def test_an_answer_that_could_not_be_got_changes_nothing() -> None:
    clock, told = ManualClock(now=160.0), list[Pulse]()
    answers = iter(["", None, "no", None, "no"])

    async def probe(*_: object) -> str | None:
        return next(answers)

    watching = asyncio.create_task(
        watch(Task("web", health=CHECK), ONE, born(CHECK, ONE, 1, 160.0), probe, clock, told=told.append)
    )
    await clock.advance(45.0)
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    assert [pulse.health for pulse in told] == ["healthy", "healthy", "healthy"]


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_check_leaves_no_connection_behind() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\n\r\n") as (port, asked):
        probe, made = await workload(port)
        open_before = descriptors()
        for _ in range(20):
            assert await probe(task(Health(http="/")), made) == ""
        assert len(asked) == 20
        await eventually(lambda: descriptors() <= open_before + 1, what="the end of connections")
