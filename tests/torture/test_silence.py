"""A Postgres that takes connections and says nothing, in the middle of a rollout: nobody waits for it for ever."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import cluster
from tests.e2e.runtimes import Runtime
from tests.torture.conftest import Witness
from tests.torture.test_outages import AWAY, started

pytestmark = pytest.mark.timeout(600)


@contextlib.contextmanager
def frozen(postmaster: int) -> Iterator[None]:
    """Stop a Postgres and all its children where they are; let them go on in the end."""
    os.kill(postmaster, signal.SIGSTOP)
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    everybody = [postmaster, *map(int, children)]
    try:
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in reversed(everybody):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def test_postgres_silent_for_a_minute(runtime: Runtime, witness: Witness) -> None:
    with cluster(runtime) as there, witness("Postgres silent for a minute", runtime.name) as run:
        scenario = started(there)
        with run.round():
            rolled = scenario.roll()
            with frozen(there.postgres.pid):
                assert there.parts["agent-1"].lives_for(AWAY)
                assert set(scenario.steady) <= set(there.running())
            scenario.settle(rolled)
        scenario.finish()
        there.delete_all()
