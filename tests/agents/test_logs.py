"""An agent's shipping of what containers write: over restarts, without anybody to take it, and at the very end."""

from __future__ import annotations

import json

from redis import Redis

from agents.fake_runtime import Script
from api.streams import Streams
from heroctl.domain.logs import log_key
from tests.agents.rig import Rig, alloc


async def test_what_a_container_writes_is_shipped_once_over_a_restart(node: Rig) -> None:
    node.runtime.scripts["shop:1"] = Script(says="one\ntwo")
    node.control.want(alloc("a"))
    node.start()
    await node.until(lambda: node.control.lines("a"), what="lines")
    assert [line.text for line in node.control.lines("a")] == ["one", "two"]
    await node.pass_time(2)
    await node.kill()
    node.start()
    await node.pass_time(10)
    assert [line.text for line in node.control.lines("a")] == ["one", "two"]
    first = next(each for request in node.control.logs for each in request.shipments if each.batch)
    assert first.batch is not None
    assert (first.batch.namespace, first.batch.job, first.batch.task) == ("default", "shop", "web")
    assert first.keep > 24 * 3600


async def test_the_end_of_a_short_life_is_read_before_the_container_goes(node: Rig) -> None:
    node.runtime.scripts["shop:1"] = Script(says="boom", exits_after=0.01, exit_code=3)
    node.control.want(alloc("a"))
    node.start()
    await node.until(node.control.is_phase("a", "failed"), step=1.0, most=600)
    await node.until(lambda: len(node.control.lines("a")) >= 3, what="lines")
    assert {line.text for line in node.control.lines("a")} == {"boom"}
    assert len(node.control.lines("a")) == 3, "one of each attempt"
    await node.until(
        lambda: any(s.batch is None and s.keep == 24 * 3600 for r in node.control.logs for s in r.shipments),
        what="that it stays for a day",
    )


async def test_what_nobody_takes_is_shipped_later(node: Rig) -> None:
    node.control.logs_status = 503
    node.runtime.scripts["shop:1"] = Script(says="patience")
    node.control.want(alloc("a"))
    node.start()
    await node.pass_time(30)
    assert node.control.phase("a") == (1, "running"), "nothing waits for it"
    node.control.logs_status = 200
    await node.until(lambda: node.control.lines("a"), what="lines")
    assert [line.text for line in node.control.lines("a")] == ["patience"]


async def test_what_is_refused_for_good_is_told_as_dropped(node: Rig) -> None:
    node.control.logs_status = 413
    node.runtime.scripts["shop:1"] = Script(says="a\nb")
    node.control.want(alloc("a"))
    node.start()
    await node.pass_time(10)
    node.control.logs_status = 200
    await node.until(lambda: node.control.lines("a"), what="a marker")
    assert [line.dropped for line in node.control.lines("a")] == [2]


async def test_an_agent_ships_with_the_user_that_an_api_makes_and_by_the_api_where_redis_knows_it_no_more(
    node: Rig, redis_url: str
) -> None:
    async with Streams(redis_url, "") as streams:
        access = await streams.access("n1")
        assert access is not None
        node.control.redis = access
        node.runtime.scripts["shop:1"] = Script(says="\n".join(f"line {number}" for number in range(300)))
        node.control.want(alloc("a"))
        node.start()
        with Redis.from_url(redis_url) as redis:
            key = log_key("n1", "a")
            await node.until(lambda: redis.xlen(key), what="entries")
            batches = [json.loads(fields[b"batch"]) for _, fields in redis.xrange(key)]
            assert [line["l"] for batch in batches for line in batch["lines"]] == [f"line {n}" for n in range(300)]
            assert redis.ttl(key) > 24 * 3600
            assert not node.control.logs
            redis.execute_command("ACL", "DELUSER", access.username)
            redis.client_kill_filter(_type="normal", skipme=True)
            node.runtime.scripts["shop:1"] = Script(says="by the api")
            node.control.want(alloc("b"))
            await node.until(lambda: node.control.lines("b"), what="lines by the api")
