"""The servers that other tests stand on are real, durable, apart from one another, and go when their owner goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from tests import keeper, servers
from tests.waiting import until


def test_postgres_is_version_18_and_durable(postgres_dsn: str) -> None:
    with psycopg.connect(postgres_dsn) as connection:
        assert connection.info.server_version // 10_000 == 18
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert connection.execute(f"SHOW {setting}").fetchone() == ("on",)


def test_a_database_is_empty_and_goes_with_its_test(postgres_server: str) -> None:
    with servers.database(postgres_server) as first, servers.database(postgres_server) as second:
        assert first != second
        with psycopg.connect(first, autocommit=True) as connection:
            connection.execute("CREATE TABLE mine ()")
        with psycopg.connect(second) as connection:
            assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
        template = first.rpartition("/")[2]
        with servers.database(postgres_server, template) as copy, psycopg.connect(copy) as connection:
            assert connection.execute("SELECT count(*) FROM mine").fetchone() == (0,)
    with psycopg.connect(postgres_server) as connection:
        left = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'test%'").fetchall()
        assert template not in {name for (name,) in left}


def test_valkey_starts_each_test_as_good_as_new(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        client.set("key", "value")
        client.acl_setuser("someone", enabled=True, nopass=True)
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    servers.flush(redis_url)
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        assert client.keys() == []
        assert client.acl_users() == ["default"]


def test_a_killed_postgres_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    with servers.postgres(tmp_path / "server") as server:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
            server.kill()
        server.start()
        with psycopg.connect(server.dsn()) as connection:
            assert connection.execute("SELECT one FROM kept").fetchone() == (1,)
        pid = server.pid
    assert not Path(f"/proc/{pid}").exists()


def test_a_killed_valkey_comes_back_empty_on_its_port(tmp_path: Path) -> None:
    with servers.redis(tmp_path / "server", maxmemory="32mb") as server:
        with redis.Redis.from_url(server.url) as client:
            client.set("key", "value")
            assert client.config_get("maxmemory") == {"maxmemory": str(32 << 20)}
        server.kill()
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.dbsize() == 0


def test_a_shared_server_ends_with_its_owner_even_a_killed_one() -> None:
    owner = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        url = keeper.shared("redis", owner.pid)
        assert keeper.shared("redis", owner.pid) == url
        assert redis.Redis.from_url(url).ping() is True
    finally:
        os.kill(owner.pid, signal.SIGKILL)
        owner.communicate()
    until(lambda: not _answers(url), what="the end of the server")


def test_a_shared_server_that_cannot_start_says_why() -> None:
    with pytest.raises(AssertionError, match=r"no moon:\n(?s:.*)KeyError: 'moon'"):
        keeper.shared("moon", os.getpid())


def _answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(url) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False
