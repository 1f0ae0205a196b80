"""What workloads write, given to others: a file that rotates, and a collector that may be whatever it likes."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from email.utils import formatdate
from pathlib import Path

import pytest
from msgspec import convert

from agents.container import Node
from agents.fake_runtime import Script
from agents.log_file import LogFile
from agents.log_forward import NOT_TAKEN, Forward, Queue, forward
from agents.log_origin import Forwarded, Origin
from agents.log_otlp import LogPost
from agents.log_tail import Whose
from agents.logs import Ways
from agents.settings import Settings
from heroctl.domain.logs import Line
from heroctl.otlp.post import Away, Post
from heroctl.otlp.pump import Bounds
from heroctl.otlp.target import Target, Unusable, asked, target
from tests.agents.rig import Rig, alloc
from tests.collector import Answer, Collector, collector, loaded_by
from tests.waiting import eventually

NODE = Node("n1", "alpha", "test", "10.0.0.1")
WHOSE = Whose("a1", "default", "shop", "web", "c0ffee")
ORIGIN = Origin("default", "shop", "web", "a1", "c0ffee", "alpha", "n1")
QUICK = Bounds(1 << 20, 4096, pauses=(0.01, 0.05), gather=0.0)


def line(text: str, **said: object) -> Line:
    return convert({"t": 1_700_000_000_123, "l": text, **said}, Line)


def to(made: Collector, bounds: Bounds = QUICK, patience: float = 10.0) -> tuple[Forward, Queue]:
    queue = Queue("otlp", LogPost(Post(Target(f"{made.url}/v1/logs", patience=patience))), bounds)
    return Forward(NODE, [queue]), queue


# ── a collector ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_line_arrives_named_by_the_semantic_conventions() -> None:
    with collector() as made:
        given, queue = to(made)
        given.open()
        given.put(WHOSE, [line("hello"), line("oh", s="stderr"), line("lo", partial=True)], 0)
        await given.close()
    assert made.texts() == ["hello", "oh", "lo"]
    first = made.logs[0]
    assert first.time_ns == 1_700_000_000_123 * 1_000_000
    assert first.resource["service.name"] == "shop"
    assert first.resource["service.namespace"] == "default"
    assert first.resource["service.instance.id"] == "a1"
    assert first.resource["container.id"] == "c0ffee"
    assert (first.resource["host.name"], first.resource["host.id"]) == ("alpha", "n1")
    assert [each.attributes["log.iostream"] for each in made.logs] == ["stdout", "stderr", "stdout"]
    assert made.logs[2].attributes["heroctl.partial"] is True
    assert queue.dropped == 0


async def test_what_nobody_read_is_told_of_where_it_would_be() -> None:
    with collector() as made:
        given, queue = to(made)
        given.open()
        given.put(WHOSE, [line("one")], 7)
        given.put(WHOSE, [line("two")], 2)
        given.end(WHOSE)
        await given.close()
    assert made.texts()[0::2] == ["one", "two"]
    assert [each.attributes.get("heroctl.dropped") for each in made.logs] == [None, 7, None, 2]
    assert queue.dropped == 0, "the outlet lost nothing"


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_what_is_not_taken_now_comes_again_in_order(status: int) -> None:
    with collector() as made:
        made.answer = lambda number: Answer(status if number <= 3 else 200)
        given, queue = to(made)
        given.open()
        given.put(WHOSE, [line(str(number)) for number in range(300)], 0)
        await eventually(lambda: len(made.logs) == 300, what="all lines")
        await given.close()
    assert made.texts() == [str(number) for number in range(300)]
    assert queue.dropped == 0


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_an_endpoint_is_left_alone_for_as_long_as_it_asks(form: str) -> None:
    with collector() as made:
        after = "1" if form == "seconds" else formatdate(time.time() + 3, usegmt=True)
        made.answer = lambda number: Answer(429, {"Retry-After": after}) if number == 1 else Answer()
        given, _ = to(made)
        given.open()
        given.put(WHOSE, [line("later")], 0)
        await eventually(lambda: made.logs, what="the line")
        await given.close()
    assert made.times[1] - made.times[0] >= 0.95


@pytest.mark.parametrize("status", [400, 401, 500])
async def test_what_is_refused_for_good_is_counted_and_the_rest_goes_on(status: int) -> None:
    with collector() as made:
        made.answer = lambda number: Answer(status if number == 1 else 200)
        given, queue = to(made)
        given.open()
        given.put(WHOSE, [line("lost"), line("too")], 0)
        await eventually(lambda: queue.dropped == 2, what="the count")
        given.put(WHOSE, [line("here")], 0)
        await given.close()
    assert [each.attributes.get("heroctl.dropped") for each in made.logs] == [2, None]
    assert NOT_TAKEN in made.logs[0].text
    assert made.logs[0].severity == 13
    assert made.logs[1].text == "here"


async def test_what_a_collector_says_it_rejected_is_counted() -> None:
    with collector() as made:
        made.answer = lambda _: Answer(200, {}, b"\x0a\x02\x08\x01")  # partial_success { rejected_log_records: 1 }
        given, queue = to(made)
        given.open()
        given.put(WHOSE, [line("a"), line("b")], 0)
        await given.close()
    assert queue.dropped == 1


async def test_while_nobody_listens_memory_is_bounded_and_the_loss_is_told_once_somebody_does() -> None:
    with collector() as gone:
        port = int(gone.url.rpartition(":")[2])
    given, queue = to(gone, Bounds(20_000, 4096, pauses=(0.01, 0.05), gather=0.0))
    given.open()
    began = time.monotonic()
    for number in range(5000):
        given.put(WHOSE, [line(f"{number:04}")], 0)
    assert time.monotonic() - began < 5, "nothing waits for it"
    assert queue.dropped == 5000 - 20_000 // line("0000").size
    with collector(port=port) as back:
        await eventually(lambda: len(back.logs) >= 5000 - queue.dropped, what="what was kept")
        given.put(WHOSE, [line("now")], 0)
        await given.close()
    kept = 5000 - queue.dropped
    assert back.texts()[:kept] == [f"{number:04}" for number in range(kept)]
    assert back.logs[kept].attributes["heroctl.dropped"] == queue.dropped
    assert back.texts()[kept + 1 :] == ["now"]


@pytest.mark.parametrize("does", ["hang", "pour", "redirect"])
async def test_a_hostile_endpoint_holds_nothing_up_not_even_the_end(does: str) -> None:
    with collector() as made:
        made.does = "hang" if does == "hang" else "pour" if does == "pour" else "redirect"
        given, queue = to(made, patience=0.3)
        given.open()
        began = time.monotonic()
        given.put(WHOSE, [line("into the void")], 0)
        assert time.monotonic() - began < 1
        await eventually(lambda: made.asked or queue.dropped, what="an attempt")
        began = time.monotonic()
        await given.close()
        assert time.monotonic() - began < 15
    if does != "pour":  # whoever answers 200 and then talks without an end has taken it
        assert queue.dropped == 1
    assert not made.logs


# ── a file ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def read(path: Path) -> list[str]:
    return [json.loads(each)["text"] for each in path.read_text().splitlines()]


async def test_a_file_holds_json_lines_that_only_its_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "out.log"
    await LogFile(path, 1 << 20, 3).send([Forwarded(ORIGIN, line("hé\tllo", s="stderr"))])
    assert json.loads(path.read_text()) == {
        "time": "2023-11-14T22:13:20.123Z",
        "namespace": "default",
        "job": "shop",
        "task": "web",
        "alloc": "a1",
        "node": "alpha",
        "stream": "stderr",
        "text": "hé\tllo",
    }
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("files", [1, 2, 4])
def test_files_rotate_by_size_and_the_oldest_go(tmp_path: Path, files: int) -> None:
    path = tmp_path / "out.log"
    out = LogFile(path, 1000, files)
    for number in range(100):
        asyncio.run(out.send([Forwarded(ORIGIN, line(str(number)))]))
    names = ["out.log", *(f"out.log.{number}" for number in range(1, files))]
    sizes = {each.name: each.stat().st_size for each in tmp_path.glob("*")}
    assert sorted(sizes) == names
    assert max(sizes.values()) <= 1000
    kept = [text for name in reversed(names) for text in read(tmp_path / name)]
    assert kept == [str(number) for number in range(100 - len(kept), 100)], "the newest, in order"


async def test_a_file_that_was_moved_away_grows_no_more_and_half_a_line_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "out.log"
    out = LogFile(path, 1 << 20, 3)
    await out.send([Forwarded(ORIGIN, line("one"))])
    path.rename(tmp_path / "taken")
    path.write_text('{"half')
    await out.send([Forwarded(ORIGIN, line("two"))])
    assert read(tmp_path / "taken") == ["one"]
    assert [json.loads(each)["text"] for each in path.read_text().splitlines()[1:]] == ["two"]


async def test_a_disk_that_refuses_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "out.log"
    with pytest.raises(Away, match="cannot be written"):
        await LogFile(path, 1 << 20, 3).send([Forwarded(ORIGIN, line("one"))])
    queue = Queue("file", LogFile(path, 1 << 20, 3), QUICK)
    queue.open()
    queue.put(ORIGIN, [line("one"), line("two")])
    await asyncio.sleep(0)
    path.parent.mkdir()
    await eventually(path.exists, what="the file")
    await queue.close(5)
    assert read(path) == ["one", "two"]


# ── the agent ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_agent_forwards_what_it_reads_also_while_nobody_takes_what_it_ships(node: Rig, tmp_path: Path) -> None:
    node.control.logs_status = 503
    node.runtime.scripts["shop:1"] = Script(says="one\ntwo")
    node.control.want(alloc("a"))
    with collector() as made:
        given, _ = to(made)
        path = tmp_path / "out.log"
        node.ways = Ways(forward=Forward(NODE, [*given._queues, Queue("file", LogFile(path, 1 << 20, 3), QUICK)]))
        node.start()
        await node.until(lambda: len(made.logs) == 2, what="lines")
        await node.stop()
    assert made.texts() == ["one", "two"] == read(path)
    assert made.logs[0].resource["service.instance.id"] == "a"
    assert not node.control.lines("a")


async def test_an_endpoint_that_hangs_slows_no_shipping(node: Rig) -> None:
    node.runtime.scripts["shop:1"] = Script(says="one\ntwo")
    node.control.want(alloc("a"))
    with collector("hang") as made:
        given, _ = to(made, patience=1.0)
        node.ways = Ways(forward=given)
        node.start()
        await node.until(lambda: node.control.lines("a") and made.asked, what="lines")
        assert [each.text for each in node.control.lines("a")] == ["one", "two"]
        made.over.set()


# ── settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def settings(**said: object) -> Settings:
    return convert({"api": ["http://api"], **said}, Settings)


def test_nothing_is_forwarded_unasked() -> None:
    assert forward(settings(), NODE, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}) is None
    assert loaded_by("agents.__main__") == []


def test_an_extra_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("agents.log_otlp", "opentelemetry.util.re"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(Unusable, match=r"--log-forward-otlp: the extra `otlp` is not installed: pip install"):
        forward(settings(log_forward_otlp="http://collector:4318"), NODE, {})


@pytest.mark.parametrize(
    ("said", "because"),
    [
        ({"log_forward_otlp": "collector:4318"}, "is not the URL of an OTLP/HTTP endpoint"),
        ({"log_forward_otlp": "http://collector:port"}, "is not the URL of an OTLP/HTTP endpoint"),
        ({"log_forward_file": "/nowhere/at/all/out.log"}, "there is no folder /nowhere/at/all"),
    ],
)
def test_settings_that_cannot_work_are_refused(said: dict[str, object], because: str) -> None:
    with pytest.raises(Unusable, match=because):
        forward(settings(**said), NODE, {})


ENV = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "https://c:1/base/",
    "OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%20b,x=y",
    "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
    "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": "2.5",
}


def test_the_variables_of_opentelemetry_are_read() -> None:
    assert asked("", ENV, "logs") == "https://c:1/base/v1/logs"
    assert asked("http://mine:4318", ENV, "logs") == "http://mine:4318/v1/logs"
    assert asked("http://mine:4318/v1/logs", ENV, "logs") == "http://mine:4318/v1/logs"
    own = ENV | {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://d/logs"}
    assert asked("", own, "logs") == "http://d/logs", "as it stands"
    assert asked("", own, "traces") == "https://c:1/base/v1/traces"
    assert asked("", own | {"OTEL_SDK_DISABLED": "true"}, "logs") == ""
    assert asked("", {}, "traces") == ""
    made = target("http://mine/v1/logs", ENV, "logs")
    assert (made.headers, made.gzip, made.patience) == ({"api-key": "a b", "x": "y"}, True, 2.5)


@pytest.mark.parametrize(
    ("name", "value"), [("PROTOCOL", "grpc"), ("COMPRESSION", "zstd"), ("TIMEOUT", "soon"), ("TIMEOUT", "nan")]
)
def test_variables_that_cannot_be_followed_are_named(name: str, value: str) -> None:
    with pytest.raises(Unusable, match=f"OTEL_EXPORTER_OTLP_{name}"):
        target("http://mine/v1/logs", {f"OTEL_EXPORTER_OTLP_{name}": value}, "logs")


async def test_headers_and_compression_are_as_asked() -> None:
    with collector() as made:
        post = LogPost(Post(target(f"{made.url}/v1/logs", ENV, "logs")))
        await post.send([Forwarded(ORIGIN, line("zipped"))])
        await post.close()
    assert made.texts() == ["zipped"]
    assert made.headers[0]["api-key"] == "a b"
