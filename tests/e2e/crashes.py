"""Crashes around COMMIT, again and again, while many write through real apis that are believed in what they answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

import psycopg

from tests.e2e.address import Address, address
from tests.e2e.cluster import Cluster, Size, cluster
from tests.e2e.runtimes import Processes
from tests.e2e.writers import writing
from tests.waiting import until

EACH: Final = 30  # acknowledged writes between two crashes, at least
ANSWERS: Final = 3  # lost at a time: the busiest connection is the appender's

Crash = Callable[[], None]


@contextmanager
def apis(module: str = "api") -> Iterator[Cluster]:
    """Two apis over one log, behind an address, and nothing else."""
    with address() as front, cluster(Processes(), Size(2, 0, 0), {"api": module}, address=front) as made:
        yield made


def endure(
    there: Cluster,
    crash: Crash,
    times: int,
    dice: random.Random,
    around: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> int:
    """Crash so many times while others write, then judge; return how many writes were acknowledged."""
    with writing(there.client.urls, there.client.token, there.postgres.dsn()) as ledger:
        for _ in range(times):
            with around():
                ledger.wait(EACH + dice.randrange(EACH))
                crash()
                ledger.wait(1)
    ledger.judge(there.postgres.dsn())
    return len(ledger.told)


def killed_apis(there: Cluster, dice: random.Random) -> Crash:
    """Kill -9 an api and start it again."""

    def crash() -> None:
        there.restart(dice.choice(["api-1", "api-2"]))
        until(there.client.ready, timeout=30, what="both apis")

    return crash


def killed_postgres(there: Cluster, _: random.Random) -> Crash:
    """Kill -9 Postgres with all its children; it recovers."""
    return lambda: there.restart_postgres(kill=True)


def lost_answers(there: Cluster, _: random.Random) -> Crash:
    """Break connections after the COMMIT and before the answer."""
    front: Address | None = there.address
    assert front is not None
    return lambda: front.lose_answers(ANSWERS)


def forget_to_flush(there: Cluster) -> None:
    """Break Postgres on purpose: it acknowledges what it has not written."""
    with psycopg.connect(there.postgres.dsn(), autocommit=True) as connection:
        connection.execute("ALTER ROLE postgres SET synchronous_commit = off")
    for part in there.parts:
        there.restart(part)
    until(there.client.ready, timeout=30, what="both apis")
