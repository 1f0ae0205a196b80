"""Metrics of applications: read as often as asked, within bounds, and nothing of them is trusted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from agents.clock import RealClock
from agents.fake_runtime import FakeRuntime
from agents.running import Running
from agents.runtime import Gone
from agents.scrapes import MOST_BYTES, MOST_OF_NODE, MOST_TEXT, Scraper, _read_through, fair, families_of
from heroctl.domain.exposition import Family, Sample, marked, render
from heroctl.domain.sampling import Scrape, Scraped
from heroctl.domain.scraped import MOST_SERIES, size
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
    assert [(family.name, len(family.samples)) for family in families] == [("few", 10)], "whole, or not at all"
    assert dropped == MOST_SERIES
    typed, dropped = families_of(f"# TYPE many gauge\n{many}{'many 1'}\n{few}")
    assert [family.name for family in typed] == ["few"]
    assert dropped == MOST_SERIES + 1
    assert families_of('long{n="' + "x" * 2_000 + '"} 1\n')[1] == 1
    assert families_of("".join(f"# HELP e{n} Nothing.\n# TYPE e{n} gauge\n" for n in range(9_000))) == ([], 0)
    assert families_of("# TYPE odd stateset\nodd 1\nodd 1\n") == ([], 2)
    assert families_of("twice 1\ntwice 2\n")[1] == 1


def test_an_application_that_says_much_takes_it_from_nobody_else() -> None:
    def said(alloc: str, series: int, dropped: int = 0) -> Scraped:
        samples = [Sample("a", f'n="{n}",more="{"x" * 900}"', "1") for n in range(series)]
        return Scraped(alloc, up=True, families=[Family("a", "gauge", "", samples)], dropped=dropped)

    fat = [said(f"fat{n:02}", MOST_SERIES, dropped=3) for n in range(20)]
    kept = fair([*fat, said("slim", 5), Scraped("down", up=False)])
    assert [each.alloc for each in kept] == ["down", "slim", *(each.alloc for each in fat)]
    whole = [each for each in kept if each.families]
    assert sum(size(each.families) for each in whole) <= MOST_TEXT
    assert [each.alloc for each in whole][:2] == ["slim", "fat00"]
    assert {each.dropped for each in kept[-5:]} == {MOST_SERIES + 3}, "it is told how much was too much"
    few = fair(said(f"a{n:03}", 90) for n in range(200))
    assert sum(len(family.samples) for each in few for family in each.families) <= MOST_OF_NODE


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


WORDS = st.text(st.sampled_from('ab_:{}="\\,# \r\x00\x85\u2028é1'), max_size=10)
LINES = st.one_of(
    st.builds(lambda name, label, value: f'{name}{{{label}="{value}"}} 1', WORDS, WORDS, WORDS),
    st.builds(lambda name, kind: f"# TYPE {name} {kind}", WORDS, st.sampled_from(["counter", "histogram", "x"])),
    st.builds(lambda name, text: f"# HELP {name} {text}", WORDS, WORDS),
    st.sampled_from(["a_total 1", "a 2", 'a_bucket{le="1"} 1', 'a{job="x",exported_job="y"} 3', "heroctl_up 1"]),
    WORDS,
)


@given(st.lists(LINES, max_size=8).map("\n".join))
def test_whatever_an_application_says_others_read_what_is_shown(text: str) -> None:
    try:
        families, _ = _read_through(text + "\n")
    except ValueError:
        return
    shown = render([marked(each, 'job="web"') for each in families]).decode()
    read = [each for family in text_string_to_metric_families(shown) for each in family.samples]
    assert len(read) == sum(len(family.samples) for family in families)
    assert all(each.labels["job"] == "web" and not each.name.startswith("heroctl_") for each in read)
