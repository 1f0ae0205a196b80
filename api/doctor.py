"""`python -m api.doctor`: looks over settings, Postgres, master keys and Redis of a server; a finding a line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Final

import msgspec
from redis import Redis
from redis.exceptions import RedisError

from api.settings import Settings
from eventstore import doctor as postgres
from eventstore.master import MASTER_KEY, given
from eventstore.seal import key_of
from heroctl.domain.finding import Finding, fail, ok, skip, warn
from heroctl.domain.settings import Ended, begin

PROGRAM: Final = "python -m api.doctor"
OLDEST: Final = (6, 2)
_TIMEOUT: Final = 5.0  # seconds
_NEARLY: Final = 0.9


def main(argv: list[str]) -> int:
    """Print what is found with the settings of an api; the exit code is 1 where something does not work."""
    settings = begin(Settings, argv, os.environ, lambda name: Path(name).read_text(), program=PROGRAM, section="api")
    if isinstance(settings, Ended):
        sys.stdout.write(settings.out)
        sys.stderr.write(settings.err)
        return settings.code
    worst = 0
    dsn = settings.direct_dsn or settings.dsn
    for finding in chain(postgres.findings(dsn), keys(settings, dsn), findings(settings.redis_url)):
        sys.stdout.write(f"{msgspec.json.encode(finding).decode()}\n")
        sys.stdout.flush()
        worst |= finding.state == "fail"
    return int(worst)


def keys(settings: Settings, dsn: str) -> Iterator[Finding]:
    """Hold the master keys of secrets to those that the cluster uses; never writes."""
    have = {key.id for key in given(settings.secrets_key_file, settings.secrets_keys)()}
    in_use = {key_of(row) for row in postgres.kept(dsn, MASTER_KEY)}
    lacking = sorted(in_use - have - set(settings.secrets_lost_keys))
    mend = "give --secrets-key-file: docs/secrets.md tells how"
    if lacking:
        yield fail("secrets_key", f"secrets are sealed with key {', '.join(lacking)}, which is not here", mend)
    elif not have:
        yield warn("secrets_key", "no master key: what is about secrets answers 503", mend)
    elif settings.secrets_key_file and Path(settings.secrets_key_file).stat().st_mode & 0o077:
        name = settings.secrets_key_file
        yield warn("secrets_key", f"others on this machine can read {name}", f"chmod 400 {name}")
    else:
        yield ok("secrets_key", f"{len(have)} of them, and all that are in use")


def findings(url: str) -> Iterator[Finding]:
    """Look at everything; never writes."""
    if not url:
        yield skip("redis_server", "no --redis-url is given: agents poll")
        return
    try:
        with Redis.from_url(url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT) as redis:
            yield from judged(dict(redis.info()))
    except (RedisError, OSError, ValueError) as error:
        mend = "check --redis-url, that Redis runs, and that this server may reach it; agents poll meanwhile"
        yield fail("redis_server", str(error), mend)


def judged(info: Mapping[str, Any]) -> Iterator[Finding]:
    """Judge what `INFO` says."""
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = str(info.get("valkey_version") or info["redis_version"])
    yield ok("redis_server", f"reached, {name} {version}")
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        yield fail("redis_version", f"{version} is too old: it knows no users", "use Redis 6.2, or any Valkey")
    if info["role"] != "master":
        yield fail("redis_role", "this is a replica: nothing can be written", "name the primary in --redis-url")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        why = f"maxmemory-policy is {policy}: what agents are told may vanish"
        yield warn("redis_eviction", why, "set maxmemory-policy noeviction")
    limit = int(info.get("maxmemory", 0))
    if limit and int(info["used_memory"]) > _NEARLY * limit:
        yield warn("redis_memory", f"{info['used_memory']} of {limit} bytes are used", "raise maxmemory")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
