"""Samples: what an agent measures, when, and what becomes of it where nobody listens."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.counters import Counters, Group, group_of, of_group, of_session
from agents.samples import LATE, Seen, rates
from agents.scrapes import Scraper
from heroctl.domain.exposition import Family, Sample
from heroctl.domain.sampling import Measured, Scraped
from tests.agents.rig import WEB, Rig, alloc


def own(measured: list[Measured]) -> dict[str, float]:
    return next(each.values for each in measured if not each.alloc)


async def test_the_first_sample_comes_within_two_seconds_and_then_one_every_ten(node: Rig) -> None:
    node.control.want(alloc("a"))
    node.start()
    await node.until(lambda: node.control.samples, most=2.0, what="the first sample")
    first = own(node.control.samples[0].taken[0].samples)
    assert first["cpu"] == pytest.approx(0.5)
    assert first["cpu_percent"] == pytest.approx(25.0)
    assert (first["memory_percent"], first["load"]) == (50.0, 0.5)
    began = node.clock.now()
    await node.until(lambda: len(node.control.samples) >= 6, what="six of them")
    assert 40 <= node.clock.now() - began <= 60
    assert all(request.session == 10 for request in node.control.samples)


async def test_what_runs_is_measured_against_what_it_may_use(node: Rig) -> None:
    node.control.want(alloc("a"))
    node.start()
    await node.until(node.control.is_phase("a", "running"))
    before = len(node.control.samples)
    await node.pass_time(25)
    told = [each for request in node.control.samples[before:] for taken in request.taken for each in taken.samples]
    values = [each.values for each in told if each.alloc == "a" and "cpu" in each.values][-1]
    assert values["cpu"] == pytest.approx(WEB.resources.cpu / 10)
    assert values["cpu_percent"] == pytest.approx(10.0)
    assert values["memory_percent"] == pytest.approx(10.0)
    assert values["network_out"] == pytest.approx(2_000.0)
    assert values["restarts"] == 0.0


async def test_what_nobody_took_is_sent_with_the_next_and_dropped_when_it_is_old(node: Rig) -> None:
    node.control.samples_status = 503
    node.start()
    await node.pass_time(60)
    kept = node.control.samples[-1].taken
    assert [round(each.age) for each in kept] == sorted((round(each.age) for each in kept), reverse=True)
    assert len(kept) >= 5
    await node.pass_time(200)
    assert all(each.age <= LATE for each in node.control.samples[-1].taken)
    node.control.samples_status = 200
    await node.pass_time(20)
    assert len(node.control.samples[-1].taken) == 1


async def test_what_is_refused_as_it_is_is_not_sent_again(node: Rig) -> None:
    node.control.samples_status = 400
    node.start()
    await node.pass_time(60)
    assert all(len(request.taken) == 1 for request in node.control.samples)


async def test_what_an_application_says_is_sent_after_what_was_measured_and_takes_nothing_with_it(
    node: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The api takes requests of a mebibyte: an application that says more than that would drown the node's own."""
    samples = [Sample("a", f'n="{n}",more="{"x" * 900}"', "1") for n in range(500)]
    said = [Scraped(f"a{n}", up=True, families=[Family("a", "gauge", "", samples)]) for n in range(3)]
    monkeypatch.setattr(Scraper, "take", lambda _: list(said))
    node.control.scraped_status = 413
    node.start()
    await node.pass_time(35)
    own_ = [request for request in node.control.samples if request.taken]
    assert len(own_) >= 3
    assert all(len(request.taken) == 1 and not request.scraped for request in own_), "each once"
    assert [each.alloc for request in node.control.samples[1:4] for each in request.scraped] == ["a0", "a1", "a2"]


def test_rates_are_of_the_time_between_and_a_counter_that_began_anew_says_nothing() -> None:
    before = Seen(100.0, Counters(cpu=10.0, network_in=1_000.0, disk_read=50.0))
    now = Seen(110.0, Counters(cpu=15.0, network_in=500.0, disk_read=50.0, disk_write=9.0))
    assert rates(before, now) == {"cpu": 0.5, "disk_read": 0.0}
    assert rates(None, now) == rates(now, now) == {}


def test_nothing_is_told_of_what_has_ended(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert of_group(Group(gone, gone, gone, second=True)) == Counters()
    assert of_group(Group(gone, gone, gone)) == Counters()
    assert group_of(2**22 + 1) is None
    assert of_session(2**22 + 1) == Counters()
