"""Alerts over the api: set, shown, changed, dropped; and told by whoever coordinates."""

from __future__ import annotations

import pytest

from eventstore.samples import Subject, Wanted
from reconciler.alerts import Alerts
from tests.api.rig import Rig
from tests.api.test_metrics import running

HOT = {"name": "hot", "metric": "cpu_percent", "condition": "> 40", "for": "20s", "job": "web"}


async def test_an_alert_is_set_shown_changed_and_dropped(api: Rig) -> None:
    made = await api.post("/v1/alerts", HOT)
    assert (made.status, made.body["state"], made.body["for"]) == (201, "ok", "20s")
    assert (await api.post("/v1/alerts", HOT)).error == "alert_exists"
    assert [each["name"] for each in (await api.get("/v1/alerts")).body] == ["hot"]
    assert (await api.get("/v1/alerts?namespace=other")).body == []
    changed = {"metric": "memory", "condition": ">= 1234567.5", "for": "5m", "job": "web"}
    assert (await api.do("PUT", "/v1/alerts/hot", changed)).body["condition"] == ">= 1234567.5"
    head = (await api.log.head()).index
    assert (await api.do("PUT", "/v1/alerts/hot", changed)).status == 200
    assert (await api.log.head()).index == head, "it was so already"
    assert (await api.do("DELETE", "/v1/alerts/hot")).status == 200
    for ask in (
        api.get("/v1/alerts/hot"),
        api.do("PUT", "/v1/alerts/hot", changed),
        api.do("DELETE", "/v1/alerts/hot"),
    ):
        assert (await ask).error == "alert_not_found"


async def test_what_could_not_be_judged_is_refused(api: Rig) -> None:
    for wrong in ({"condition": "very hot"}, {"for": "soon"}, {"metric": "load"}, {"name": "HOT"}, {"for": "9h"}):
        assert (await api.post("/v1/alerts", HOT | wrong)).error == "invalid_alert", wrong
    assert (await api.post("/v1/alerts", HOT | {"colour": "red"})).status == 400


async def test_who_may_not_see_all_nodes_sets_no_alert_of_nodes(api: Rig) -> None:
    deployer = await api.role("deployer")
    of_nodes = {"name": "full", "metric": "disk_percent", "condition": "> 90"}
    assert (await api.post("/v1/alerts", of_nodes, token=deployer)).status == 201, "a deployer sees them"
    viewer = await api.role("viewer")
    assert (await api.post("/v1/alerts", HOT, token=viewer)).error == "forbidden"
    assert (await api.get("/v1/alerts/full", token=viewer)).status == 200


async def test_it_fires_and_is_over_once_each(api: Rig) -> None:
    first, alloc = await running(api)
    await api.post("/v1/alerts", HOT)
    parts = api.parts
    watch = Alerts(parts.log, parts.view, parts.usage.samples, lambda: api.log.epoch, parts.usage.now)
    for _ in range(4):
        await watch.look()
        api.clock.now += 10
        await first.measured({"cpu": 0.25, "cpu_percent": 50.0}, alloc)
    await watch.look()
    shown = (await api.get("/v1/alerts/hot")).body
    assert (shown["state"], shown["of"], shown["value"]) == ("firing", alloc, 50.0)
    fired = parts.view.index
    await watch.look()
    assert parts.view.index == fired
    api.clock.now += 10
    await first.measured({"cpu": 0.1, "cpu_percent": 20.0}, alloc)
    await watch.look()
    assert (await api.get("/v1/alerts/hot")).body["state"] == "ok"
    assert parts.view.index == fired + 1
    api.clock.now += 300
    await watch.look()
    assert parts.view.index == fired + 1, "what is not measured fires for nothing"


async def test_an_alert_that_cannot_be_judged_costs_no_other(api: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    first, alloc = await running(api)
    await first.measured({"cpu_percent": 50.0}, alloc)
    for name, job in (("a-poisoned", "poison"), ("hot", "web")):
        await api.post("/v1/alerts", HOT | {"name": name, "job": job, "for": "0s"})
    parts = api.parts
    find = parts.usage.samples.find

    async def finds(wanted: Wanted, since: int) -> list[Subject]:
        if wanted.job == "poison":
            raise RuntimeError("no database takes this")
        return await find(wanted, since)

    monkeypatch.setattr(parts.usage.samples, "find", finds)
    await Alerts(parts.log, parts.view, parts.usage.samples, lambda: api.log.epoch, parts.usage.now).look()
    assert {each["name"]: each["state"] for each in (await api.get("/v1/alerts")).body} == {
        "a-poisoned": "ok",
        "hot": "firing",
    }
