"""Job specs for tests: small, quick to start, and ending at once when asked."""

from __future__ import annotations

from typing import Any, Final

from tests.e2e.runtimes import Runtime

# A shell waits for its child before it hears a signal, unless it waits by `wait`.
PATIENT: Final = "trap 'exit 0' TERM; echo up; while :; do sleep 3600 & wait $!; done"
SMALL: Final = {"cpu": 0.02, "memory": "32MB", "disk": "1MB"}
# Replicas that are healthy for a second will do; deadlines are longer than any fault lasts.
QUICK: Final = {"min_healthy_time": "1s", "healthy_deadline": "3m", "progress_deadline": "5m"}


def job(
    runtime: Runtime, name: str, *, count: int = 1, release: str = "one", script: str = PATIENT, **task: object
) -> dict[str, Any]:
    """Make a job of one task, `web`. Another `release` is another version whose containers must be replaced."""
    made: dict[str, Any] = {
        "name": "web",
        "count": count,
        "env": {"RELEASE": release},
        "resources": SMALL,
        "update": QUICK,
        "kill_timeout": "2s",
        **runtime.task(script),
        **task,
    }
    return {"job": name, "tasks": [made]}
