"""Metrics of applications: read as often as asked, within bounds, and nothing of them is trusted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from agents.clock import RealClock
from agents.fake_runtime import FakeRuntime
from agents.running import Running
from agents.runtime import Gone
from agents.scrapes import MOST_BYTES, Scraper, _read_through, families_of
from heroctl.domain.exposition import marked, render
from heroctl.domain.sampling import MOST_SERIES, Scrape, Scraped
from tests.waiting import eventually

TEXT = """\
# HELP orders_total Orders.
# TYPE orders_total counter
orders_total{job="mine",kind="a\\"b"} 5
# TYPE depth gauge
depth 2.5
# TYPE took histogram
took_bucket{le="1"} 1
took_bucket{le="+Inf"} 2
took_sum 3
took_count 2
# TYPE heroctl_node_up gauge
heroctl_node_up 1
"""


def test_what_is_read_is_shown_again_with_where_it_is_from() -> None:
    families, dropped = families_of(TEXT)
    assert dropped == 1, "names of the cluster's own"
    text = render([marked(family, 'job="web",alloc="a1"') for family in families]).decode()
    assert 'orders_total{job="web",alloc="a1",exported_job="mine",kind="a\\"b"} 5' in text
    assert "# TYPE orders_total counter" in text
    assert 'depth{job="web",alloc="a1"} 2.5' in text
    assert 'took_bucket{job="web",alloc="a1",le="+Inf"} 2' in text
    assert families_of(text)[1] == 0, "the library reads it back"
    assert "heroctl_node_up" not in text


def test_two_replicas_are_one_family_and_another_meaning_is_left_out() -> None:
    families, _ = families_of(TEXT)
    other, _ = families_of("# TYPE depth counter\ndepth_total 1\n# TYPE orders_total gauge\norders_total 9\n")
    both = [marked(each, 'alloc="a"') for each in families] + [
        marked(each, 'alloc="b"') for each in [*families, *other]
    ]
    text = render(both).decode()
    assert text.count("# TYPE orders_total") == 1
    assert "} 9" not in text
    assert families_of(text)[1] == 0


def test_so_many_series_and_no_more() -> None:
    few = "".join(f'few{{n="{n}"}} 1\n' for n in range(10))
    many = "".join(f'many{{n="{n}"}} 1\n' for n in range(MOST_SERIES))
    families, dropped = families_of(f"{few}{many}")
    assert [(family.name, len(family.samples)) for family in families] == [("few", 10), ("many", MOST_SERIES - 10)]
    assert dropped == 10
    typed, dropped = families_of(f"# TYPE many gauge\n{many}{'many 1'}\n{few}")
    assert [family.name for family in typed] == ["few"], "a family comes whole, or not at all"
    assert dropped == MOST_SERIES + 1
    assert families_of('long{n="' + "x" * 2_000 + '"} 1\n')[1] == 1


class Served(FakeRuntime):
    """Leads to a server of the test's own."""

    port = 0

    async def endpoint(self, container: str, port: str) -> tuple[str, int]:
        """Say where."""
        del container
        if port != "http":
            raise Gone(port)
        return "127.0.0.1", self.port


@pytest.fixture
async def served() -> AsyncIterator[tuple[Served, Callable[[bytes], None]]]:
    said = [b""]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + said[0])
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    runtime = Served(RealClock())
    runtime.port = server.sockets[0].getsockname()[1]
    yield runtime, lambda text: said.__setitem__(0, text)
    server.close()


@pytest.mark.parametrize(
    ("text", "up"),
    [(TEXT.encode(), True), (b"", True), (b"<html>", False), (b"\xff\xfe", False), (b"x" * (MOST_BYTES + 1), False)],
    ids=["text", "nothing", "page", "binary", "flood"],
)
async def test_what_is_no_exposition_is_not_up(
    served: tuple[Served, Callable[[bytes], None]], text: bytes, *, up: bool
) -> None:
    runtime, say = served
    say(text)
    one = Running("a1", "c1", runtime, 1.0, 1.0, 0)
    scraper = Scraper(lambda: [one], RealClock())
    scraper.wanted = [Scrape("a1", "http", "/metrics", 3600.0), Scrape("gone", "http", "/", 1.0)]
    running = asyncio.create_task(scraper.run())
    found: list[Scraped] = []
    try:

        def read() -> bool:
            found.extend(scraper.take())
            return bool(found)

        await eventually(read, what="a reading")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    [only] = found
    assert (only.alloc, only.up) == ("a1", up)
    assert bool(only.families) == (text == TEXT.encode())


@pytest.mark.parametrize(
    "text", ["# HELP \u2028 c\n", '{"a\\nheroctl_up 1\\n#"} 1\n', 'foo{"a} 1\\nheroctl_forged 1\\n#"="v"} 1\n']
)
def test_what_breaks_the_reader_or_would_forge_lines_is_not_shown(text: str) -> None:
    try:
        families, _ = _read_through(text)
    except ValueError:
        return
    assert not [each for family in families for each in family.samples]
