"""A workload that writes as fast as it can costs lines, which are counted, and nothing else; nor does a full Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from tests.deaf import deaf
from tests.e2e import loud
from tests.e2e.cluster import Cluster, cluster
from tests.e2e.runtimes import Processes
from tests.e2e.specs import job
from tests.waiting import until

pytestmark = pytest.mark.timeout(180)
PATIENCE = 4  # seconds for which a reader may take nothing
MOST = 40.0  # MiB: the lines that an api keeps for all who follow, and a few pieces for each


@pytest.fixture(scope="module")
def alone() -> Iterator[Cluster]:
    with cluster(Processes(), environ={"HEROCTL_STREAM_PATIENCE": str(PATIENCE)}) as made:
        yield made


@pytest.mark.parametrize("kind", loud.KINDS)
def test_each_line_is_told_or_counted(alone: Cluster, kind: str) -> None:
    name = kind.rpartition(" ")[2]  # what another job of the same name wrote is kept
    alone.submit(loud.spec(alone, name, 3, kind))
    ears = loud.Ears(alone, name)
    try:
        alone.submit(job(alone.runtime, "quiet"))
        alone.wait_deployed("quiet", 1)
        until(lambda: ears.total >= 0 or ears.faults, timeout=90, what="its last line")
        assert (ears.faults, ears.lost) == ([], 0)
        assert ears.told + ears.dropped == ears.total
        assert ears.dropped > 0, "it wrote more than is kept of one"
    finally:
        ears.close()
        alone.delete_all()


def test_who_follows_and_reads_nothing_costs_no_memory_and_is_cut(alone: Cluster) -> None:
    """Each of the twenty would be sent some MiB a second."""
    alone.submit(loud.spec(alone, "followed", 9))
    ears = loud.Ears(alone, "followed", None)
    lazy = []
    try:
        until(lambda: ears.told, what="the first lines")
        before = loud.sizes(alone)["api-1"]
        url = f"{alone.url()}/v1/logs?stream=true&job=followed"
        lazy = [deaf(url, alone.client.token) for _ in range(20)]
        log = alone.parts["api-1"].log
        until(lambda: log.read_text().count("slow_reader_cut") == len(lazy), timeout=60, what="their end")
        grown = loud.sizes(alone)["api-1"] - before
        assert grown < MOST, f"{grown:.0f} MiB more"
        until(lambda: ears.total >= 0 or ears.faults, timeout=90, what="its last line")
        assert (ears.faults, ears.lost) == ([], 0)
        assert ears.next == ears.total, "who reads was told all of it meanwhile"
    finally:
        ears.close()
        for each in lazy:
            each.close()
        alone.delete_all()


def test_where_redis_is_full_lines_are_missing_and_commands_are_not(alone: Cluster) -> None:
    alone.submit(job(alone.runtime, "talks", script="n=0; while :; do n=$((n+1)); echo $n; sleep 0.02; done"))
    alone.wait_deployed("talks", 1)
    until(lambda: alone.client.get("/v1/logs", job="talks").body, what="lines")
    with Redis.from_url(alone.redis.url) as redis:
        redis.config_set("maxmemory-policy", "noeviction")
        redis.config_set("maxmemory", 1)
        alone.submit(job(alone.runtime, "quiet"))
        alone.wait_deployed("quiet", 1)
        alone.delete("quiet")
        redis.config_set("maxmemory", 0)

    def again() -> bool:
        lines = alone.client.get("/v1/logs", job="talks", tail=10_000).body
        numbers, due = [], 1
        for line in lines:
            if count := line.get("dropped", 0):
                due += count
                numbers.append(-count)
            else:
                assert int(line["line"]) == due, "what is not there is counted"
                due += 1
        return bool(numbers) and "dropped" not in lines[-1]

    until(again, timeout=60, what="lines again, behind those that are missing")
    alone.delete_all()
