"""Metrics: what agents told, as a snapshot, as text for Prometheus and over time; and who may see it."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from eventstore.samples import Exposed
from tests.api.rig import Rig, beside
from tests.api.specs import place, spec, submit
from tests.api.test_agent import Agent, agent, said

MIB = 1 << 20
LOAD = {"cpu": 0.25, "cpu_percent": 50.0, "memory": 64.0 * MIB, "memory_percent": 25.0, "network_in": 10.0}
NODE = {"cpu": 1.5, "cpu_percent": 37.5, "memory": 2e9, "disk": 1e9, "load": 0.75, "uptime": 5e3}


async def running(api: Rig, name: str = "web") -> tuple[Agent, str]:
    """Have an allocation run on node-1, measured once, as its node is."""
    first = await agent(api)
    await submit(api, name)
    alloc = await place(api, first.node, name)
    await first.sync(reports=[said(alloc, running_for=5.0)])
    assert (await first.measured(NODE)).status == 200
    assert (await first.measured(LOAD, alloc)).status == 200
    return first, alloc


def values(text: bytes) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Read an exposition by the library that others read it by."""
    families = text_string_to_metric_families(text.decode())
    return {family.name: [(each.labels, each.value) for each in family.samples] for family in families}


async def test_the_snapshot_says_how_things_stand(api: Rig) -> None:
    await running(api)
    body = (await api.get("/v1/metrics")).body
    assert body["cpu"] == {"used": 1.5, "total": 4.0}
    assert body["mem"] == {"used": 2e9, "total": 8e9}
    assert body["allocs"] == {"running": 1, "pending": 0, "failed": 0}
    assert body["ingress"] == {"requests_s": 0, "p50_ms": 0, "p99_ms": 0, "errors_s": 0}
    [node] = body["nodes"]
    assert (node["name"], node["status"], node["load"], node["allocations"]) == ("node-1", "unknown", 0.75, 1)
    assert node["cpu"] == {"used": 1.5, "limit": 4.0, "percent": 37.5}
    api.clock.now += 120
    [node] = (await api.get("/v1/metrics")).body["nodes"]
    assert (node["time"], node["cpu"]["used"]) == (None, 0), "what is old says nothing of now"


@pytest.mark.parametrize("how", ["accept", "format"])
async def test_prometheus_reads_the_text(api: Rig, how: str) -> None:
    _, alloc = await running(api)
    headers = {"accept": "text/plain;version=0.0.4"} if how == "accept" else {}
    reply = await api.get("/v1/metrics" + ("?format=prometheus" if how == "format" else ""), headers=headers)
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = values(reply.raw)
    assert found["heroctl_node_cpu_usage_percent"] == [({"node": "node-1"}, 37.5)]
    own = {"namespace": "default", "job": "web", "task": "app", "alloc": alloc, "node": "node-1"}
    assert found["heroctl_alloc_memory_bytes"] == [(own, 64 * MIB)]
    assert found["heroctl_alloc_status"] == [(own | {"status": "running"}, 1.0)]
    assert found["heroctl_alloc_age_seconds"][0][1] == 5
    web = {"namespace": "default", "job": "web"}
    assert found["heroctl_job_healthy_replicas"] == [(web, 1.0)]
    assert found["heroctl_job_desired_replicas"] == [(web, 1.0)]
    assert found["heroctl_node_up"] == [({"node": "node-1"}, 0.0)], "nobody coordinates, so nobody knows"


async def test_a_job_is_asked_for_over_time(api: Rig) -> None:
    first, alloc = await running(api)
    for cpu in (0.5, 0.75):
        api.clock.now += 10
        await first.measured({"cpu": cpu}, alloc)
    begin = int(api.clock.now) // 10 * 10 - 20
    body = (await api.get("/v1/metrics/query?metric=cpu&job=web&from=-1h")).body
    assert (body["metric"], body["unit"], body["step"]) == ("cpu", "cores", 10)
    labels = {"namespace": "default", "job": "web", "task": "app", "alloc": alloc, "node": "node-1"}
    points = [[begin, 0.25], [begin + 10, 0.5], [begin + 20, 0.75]]
    assert body["series"] == [{"labels": labels, "points": points}]
    for query in (
        f"alloc={alloc}",
        f"alloc={alloc[:6]}",
        "job=web&node=node-1",
        "task=app",
        f"job=web&node={first.node}",
    ):
        again = (await api.get(f"/v1/metrics/query?metric=cpu&from=-1h&{query}")).body
        assert again["series"] == body["series"], query
    wide = (await api.get("/v1/metrics/query?metric=cpu&job=web&from=-1h&step=1h")).body["series"]
    assert max(value for _, value in wide[0]["points"]) <= 0.75
    peak = (await api.get("/v1/metrics/query?metric=cpu&job=web&from=-1h&step=1h&aggregation=max")).body["series"]
    assert peak[0]["points"][-1][1] == 0.75


async def test_series_are_put_together_by_job_task_or_node(api: Rig) -> None:
    first, alloc = await running(api)
    other = await place(api, first.node, n=2)
    await first.measured({"cpu": 0.5, "cpu_percent": 100.0}, other)

    async def ask(query: str) -> list[dict[str, Any]]:
        reply = await api.get(f"/v1/metrics/query?from=-1h&{query}")
        return [{"labels": each["labels"], "last": each["points"][-1][1]} for each in reply.body["series"]]

    job = {"namespace": "default", "job": "web"}
    assert len(await ask("metric=cpu&job=web")) == 2
    assert await ask("metric=cpu&job=web&group=job") == [{"labels": job, "last": 0.75}]
    assert await ask("metric=cpu_percent&group=job") == [{"labels": job, "last": 75.0}]
    assert await ask("metric=cpu&group=task") == [{"labels": job | {"task": "app"}, "last": 0.75}]
    assert await ask("metric=cpu&job=web&group=node") == [{"labels": {"node": "node-1"}, "last": 0.75}]
    assert await ask("metric=cpu") == [{"labels": {"node": "node-1"}, "last": 1.5}]
    assert await ask("metric=cpu&group=all") == [{"labels": {}, "last": 1.5}]
    assert alloc != other


async def test_a_job_that_is_not_there_has_no_series_and_a_deleted_one_those_that_are_kept(api: Rig) -> None:
    await running(api)
    nothing = await api.get("/v1/metrics/query?metric=cpu&job=nobody&from=-1h")
    assert (nothing.status, nothing.body["series"]) == (200, [])
    assert (await api.do("DELETE", "/v1/jobs/web")).status == 200
    assert len((await api.get("/v1/metrics/query?metric=cpu&job=web&from=-1h")).body["series"]) == 1


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "invalid_metric"),
        ("metric=nonsense", "invalid_metric"),
        ("metric=load&job=web", "invalid_metric"),
        ("metric=cpu&from=yesterday", "invalid_from"),
        ("metric=cpu&from=-1h&to=-2h", "invalid_from"),
        ("metric=cpu&to=soon", "invalid_to"),
        ("metric=cpu&step=often", "invalid_step"),
        ("metric=cpu&step=100d", "invalid_step"),
        ("metric=cpu&aggregation=sum", "invalid_aggregation"),
        ("metric=cpu&group=colour", "invalid_group"),
        ("metric=cpu&colour=red", "unknown_parameter"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_name(api: Rig, query: str, code: str) -> None:
    reply = await api.get(f"/v1/metrics/query?{query}")
    assert (reply.status, reply.error) == (400, code)
    assert (await api.get("/v1/metrics?format=xml")).error == "invalid_format"


async def test_nobody_sees_what_is_another_namespaces(api: Rig) -> None:
    await running(api)
    assert (await api.post("/v1/namespaces", {"name": "other"})).status == 201
    assert (await api.post("/v1/jobs", spec("hidden", namespace="other"))).status == 201
    wanted = {"name": "v", "roles": ["viewer"], "namespaces": ["default"]}
    viewer = (await api.post("/v1/acl/tokens", wanted)).body["secret"]
    text = values((await api.get("/v1/metrics?format=prometheus", token=viewer)).raw)
    assert [labels["job"] for labels, _ in text["heroctl_job_desired_replicas"]] == ["web"]
    mine = values((await api.get("/v1/metrics?format=prometheus")).raw)
    assert [labels["job"] for labels, _ in mine["heroctl_job_desired_replicas"]] == ["web", "hidden"]


async def test_an_agent_says_nothing_about_what_runs_elsewhere(api: Rig) -> None:
    _, alloc = await running(api)
    second = await agent(api, "node-2")
    assert (await second.measured({"cpu": 9.0}, alloc)).status == 200
    api.clock.now += 10
    points = (await api.get("/v1/metrics/query?metric=cpu&job=web&from=-1h")).body["series"][0]["points"]
    assert [value for _, value in points] == [0.25]


async def test_samples_that_come_late_stand_where_they_were_taken(api: Rig) -> None:
    first, alloc = await running(api)
    await first.measured({"cpu": 0.125}, alloc, age=60.0)
    points = (await api.get("/v1/metrics/query?metric=cpu&job=web&from=-1h")).body["series"][0]["points"]
    assert [value for _, value in points] == [0.125, 0.25]
    assert points[1][0] - points[0][0] == 60
    assert (await api.get(f"/v1/allocations/{alloc}/stats")).body["cpu"]["used"] == 0.25, "the newest counts"


async def test_an_allocation_tells_what_it_uses(api: Rig) -> None:
    _, alloc = await running(api)
    body = (await api.get(f"/v1/allocations/{alloc[:6]}/stats")).body
    assert (body["alloc"], body["job"], body["node"], body["status"]) == (alloc, "web", "node-1", "running")
    assert body["cpu"] == {"used": 0.25, "limit": 0.5, "percent": 50.0}
    assert body["memory"]["used"] == 64 * MIB
    assert body["traffic"] == {"network_in": 10, "network_out": None, "disk_read": None, "disk_write": None}
    api.clock.now += 120
    body = (await api.get(f"/v1/allocations/{alloc}/stats")).body
    assert (body["time"], body["cpu"]["used"]) == (None, None)
    assert (await api.get("/v1/allocations/nobody/stats")).error == "allocation_not_found"


async def test_another_api_shows_what_this_one_took(api: Rig) -> None:
    await running(api)
    async with beside(api) as other:
        assert (await other.get("/v1/nodes/node-1")).body["cpu"]["used"] == 0
        await other.parts.usage.look()
        other.clock.ticks += 2
        assert (await other.get("/v1/nodes/node-1")).body["cpu"]["used"] == 1.5


async def test_a_session_that_was_replaced_has_no_say(api: Rig) -> None:
    first, _ = await running(api)
    first.session -= 1
    assert (await first.measured(NODE)).error == "session_replaced"


async def test_applications_tell_metrics_of_their_own_where_their_job_says_so(api: Rig) -> None:
    first, alloc = await running(api)
    told = {"port": 8080, "path": "/counts", "interval": "30s"}
    again = await api.post("/v1/jobs", spec(metrics=told))
    assert again.body["version"] == 2
    reply = await first.measured(LOAD, alloc)
    assert reply.body["scrape"] == [{"alloc": alloc, "port": "http", "path": "/counts", "every": 30.0}]
    families = [["orders_total", "counter", "Orders.", [["orders_total", 'kind="a"', "5"]]]]
    scraped = [
        {"alloc": alloc, "up": True, "families": families, "dropped": 2},
        {"alloc": "elsewhere", "up": True, "families": families},
    ]
    body = {"session": first.session, "scraped": scraped}
    assert (await api.post("/v1/agent/samples", body, token=first.token)).status == 200
    found = values((await api.get("/v1/metrics?format=prometheus")).raw)
    own = {"namespace": "default", "job": "web", "task": "app", "alloc": alloc, "node": "node-1"}
    assert found["orders"] == [(own | {"kind": "a"}, 5.0)]
    assert found["heroctl_scrape_up"] == [(own, 1.0)]
    assert found["heroctl_scrape_dropped_series"] == [(own, 2.0)]
    off = await api.post("/v1/jobs", spec(metrics=told | {"enabled": False}))
    assert off.status == 200
    assert (await first.measured(LOAD, alloc)).body["scrape"] == []
    api.clock.now += 600
    assert "orders" not in values((await api.get("/v1/metrics?format=prometheus")).raw), "what is old is not shown"


async def test_an_agent_is_held_to_the_bounds_and_forges_nothing(api: Rig) -> None:
    """A node that somebody has taken over says of others, and to the reader, no more than an application may."""
    first, alloc = await running(api)
    node = ["heroctl_node_up", "gauge", "", [["heroctl_node_up", 'node="other"', "1"]]]
    line = ["a", "gauge", "", [["a", "", "1\nheroctl_node_up 7"], ["heroctl_node_up", "", "7"], ["a", 'n="1"', "1"]]]
    many = ["b", "gauge", "", [["b", f'n="{n}"', "1"] for n in range(501)]]
    other = ["c", "gauge", "", [["c", 'job="other"', "1"]]]
    scraped = [{"alloc": alloc, "up": True, "families": [node, line, many, other], "dropped": 2}]
    body = {"session": first.session, "scraped": scraped}
    assert (await api.post("/v1/agent/samples", body, token=first.token)).status == 200
    text = (await api.get("/v1/metrics?format=prometheus")).raw
    found = values(text)
    assert found["heroctl_node_up"] == [({"node": "node-1"}, 0.0)]
    assert [labels["n"] for labels, _ in found["a"]] == ["1"]
    assert not {"b", "c"} & found.keys()
    assert found["heroctl_scrape_dropped_series"][0][1] == 2 + 1 + 2 + 501 + 1


async def test_applications_for_which_there_is_no_room_are_told_and_others_shown(
    api: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.snapshot.MOST_SERIES", 3)
    first, alloc = await running(api)
    second = await place(api, first.node, n=2)
    families = {each: [["a", "gauge", "", [["a", f'n="{n}"', "1"] for n in range(2)]]] for each in (alloc, second)}
    scraped = [{"alloc": each, "up": True, "families": said} for each, said in families.items()]
    body = {"session": first.session, "scraped": scraped}
    assert (await api.post("/v1/agent/samples", body, token=first.token)).status == 200
    found = values((await api.get("/v1/metrics?format=prometheus")).raw)
    assert len({labels["alloc"] for labels, _ in found["a"]}) == 1
    assert sorted(value for _, value in found["heroctl_scrape_dropped_series"]) == [0, 2]
    assert [value for _, value in found["heroctl_scrape_up"]] == [1, 1]


@pytest.mark.parametrize(
    ("metrics", "path"),
    [
        ({"port": "nowhere"}, "metrics.port"),
        ({"port": 9999}, "metrics.port"),
        ({"port": "http", "path": "metrics"}, "metrics.path"),
        ({"port": "http", "interval": "0s"}, "metrics.interval"),
        ({"port": "http", "colour": "red"}, "metrics.colour"),
        ({}, "metrics.port"),
    ],
)
async def test_a_metrics_block_that_leads_nowhere_is_refused(api: Rig, metrics: dict[str, Any], path: str) -> None:
    reply = await api.post("/v1/jobs", spec(metrics=metrics))
    assert reply.error == "invalid_spec"
    assert [each["path"] for each in reply.body["details"]] == [path]


async def test_every_process_shows_what_it_counts_to_those_who_may_see_the_cluster(api: Rig) -> None:
    now = int(api.clock.now)
    counted = b'[["heroctl_waiters","gauge","Waiting.",[["heroctl_waiters","","3"]]]]'
    await api.parts.usage.samples.expose([Exposed("process", "reconciler-1", now, counted)])
    found = values((await api.get("/v1/metrics?format=prometheus")).raw)
    assert found["heroctl_waiters"] == [({"process": "reconciler-1"}, 3.0)]
