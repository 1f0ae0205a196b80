"""What is found on a server, and what on a node: with real parts, and with what they could say."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents import doctor as node
from api import doctor as server
from eventstore import doctor as postgres
from eventstore.database import Database
from eventstore.master import Master, given
from eventstore.migrate import migrate
from eventstore.vault import PostgresVault
from heroctl.domain.finding import Finding
from tests.api.rig import MASTER_KEYS


def states(found: list[Finding]) -> dict[str, str]:
    return {each.name: each.state for each in found}


def test_a_server_that_is_well(postgres_dsn: str, redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    migrate(postgres_dsn)
    assert server.main(["--dsn", postgres_dsn, "--redis-url", redis_url]) in (0, 1)
    found = [msgspec.json.decode(line, type=Finding) for line in capsys.readouterr().out.splitlines()]
    assert states(found).items() >= {"postgres": "ok", "postgres_log": "ok", "redis_server": "ok"}.items()
    assert all(each.mend for each in found if each.state in ("warn", "fail"))


def test_master_keys_are_held_to_those_in_use(
    postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    migrate(postgres_dsn)

    def found() -> Finding:
        server.main(["--dsn", postgres_dsn])
        told = [msgspec.json.decode(line, type=Finding) for line in capsys.readouterr().out.splitlines()]
        [one] = [each for each in told if each.name == "secrets_key"]
        return one

    async def use(*words: str) -> None:
        async with Database(postgres_dsn, connections=1) as database:
            await Master(PostgresVault(database), given("", words)).begin()

    assert (found().state, "answers 503" in found().message) == ("warn", True)
    asyncio.run(use(MASTER_KEYS[0]))
    capsys.readouterr()
    assert (found().state, "which is not here" in found().message) == ("fail", True)
    file = tmp_path / "keys"
    file.write_text(MASTER_KEYS[0])
    file.chmod(0o644)
    monkeypatch.setenv("HEROCTL_SECRETS_KEY_FILE", str(file))
    assert (found().state, found().mend) == ("warn", f"chmod 400 {file}")
    file.chmod(0o400)
    assert found().state == "ok"


def test_an_empty_database_is_told_from_a_log(postgres_dsn: str) -> None:
    assert server.main(["--dsn", postgres_dsn]) == 1
    [log] = [each for each in postgres.findings(postgres_dsn) if each.name == "postgres_log"]
    assert (log.state, log.mend) == ("fail", "run: python -m eventstore migrate --dsn DSN")


@pytest.mark.parametrize(
    ("ahead", "state", "said"),
    [(0, "ok", "within seconds"), (60, "warn", "60 s ahead of the database"), (-5, "warn", "5 s behind the database")],
)
def test_a_servers_clock_is_held_to_the_databases(postgres_dsn: str, ahead: int, state: str, said: str) -> None:
    found = postgres.findings(postgres_dsn, lambda: time.time() + ahead)
    [clock] = [each for each in found if each.name == "postgres_clock"]
    assert clock.state == state
    assert said in clock.message


def test_a_database_that_is_slow_to_tell_the_time_says_nothing_of_it(postgres_dsn: str) -> None:
    times = iter((100.0, 102.0))
    [clock] = [each for each in postgres.findings(postgres_dsn, lambda: next(times)) if each.name == "postgres_clock"]
    assert (clock.state, clock.mend) == ("warn", "look at its load")


def test_parts_that_are_away_are_told_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    away = ["--dsn", "postgresql://127.0.0.1:1/x", "--redis-url", "redis://127.0.0.1:1/0"]
    assert server.main(away) == 1
    found = [msgspec.json.decode(line, type=Finding) for line in capsys.readouterr().out.splitlines()]
    assert states(found) == {"postgres": "fail", "secrets_key": "warn", "redis_server": "fail"}
    assert all("check --" in each.mend for each in found if each.state == "fail")


def test_settings_that_cannot_be_used_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert server.main(["--dsn", "postgresql://127.0.0.1:1/x", "--listen", "nowhere"]) == 2
    assert "--listen" in capsys.readouterr().err


SAFE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}


@pytest.mark.parametrize(
    ("change", "name", "state"),
    [
        ({}, "postgres_durable", "ok"),
        ({"synchronous_commit": "remote_apply"}, "postgres_durable", "ok"),
        ({"fsync": "off"}, "postgres_fsync", "fail"),
        ({"synchronous_commit": "off"}, "postgres_synchronous_commit", "fail"),
        ({"full_page_writes": "off"}, "postgres_full_page_writes", "warn"),
    ],
)
def test_a_postgres_that_forgets_is_found(change: dict[str, str], name: str, state: str) -> None:
    assert states(list(postgres.judged(SAFE | change)))[name] == state


WELL = {"redis_version": "7.2.4", "role": "master", "maxmemory": 0, "used_memory": 1, "maxmemory_policy": "noeviction"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {}),
        ({"valkey_version": "8.1.0"}, {}),
        ({"redis_version": "5.0.9"}, {"redis_version": "fail"}),
        ({"role": "slave"}, {"redis_role": "fail"}),
        ({"maxmemory_policy": "allkeys-lru"}, {"redis_eviction": "warn"}),
        ({"maxmemory": 100, "used_memory": 95}, {"redis_memory": "warn"}),
    ],
)
def test_a_redis_that_would_lose_rings_is_found(change: dict[str, Any], expected: dict[str, str]) -> None:
    assert states(list(server.judged(WELL | change))) == {"redis_server": "ok"} | expected


@pytest.mark.parametrize(
    ("version", "info", "expected"),
    [
        ({"Version": "27.1", "ApiVersion": "1.46"}, {"CgroupVersion": "2"}, {}),
        ({"Version": "19.3", "ApiVersion": "1.40"}, {"CgroupVersion": "2"}, {"docker_version": "fail"}),
        ({"Version": "27.1", "ApiVersion": "1.46"}, {"CgroupVersion": "1"}, {"docker_cgroup": "warn"}),
        ({"ApiVersion": "1.46"}, {"Warnings": ["WARNING: No swap limit support"]}, {"docker_limits": "warn"}),
    ],
)
def test_an_engine_is_judged(version: dict[str, Any], info: dict[str, Any], expected: dict[str, str]) -> None:
    assert states(list(node.judged(version, info))) == {"docker": "ok"} | expected


def test_a_machine_without_docker_is_no_failure(tmp_path: Path) -> None:
    assert states(list(node.findings(f"unix://{tmp_path}/none")))["docker"] == "skip"
    assert states(list(node.findings("tcp://192.0.2.1:2375")))["docker"] == "skip"


def test_a_socket_that_does_not_answer_is_told(tmp_path: Path) -> None:
    (tmp_path / "docker.sock").touch()
    [docker] = [each for each in node.findings(f"unix://{tmp_path}/docker.sock") if each.name == "docker"]
    assert (docker.state, docker.mend) == ("fail", "start Docker: systemctl start docker")
