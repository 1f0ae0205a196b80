"""The life of an allocation, as data.

Within one attempt phases only rise, so of two reports the greater one is right, whatever order they arrive in:

- `pending`    placed; its agent has not begun.
- `starting`   the image is being pulled, the container is being made.
- `running`    the container runs; health is apart and may go both ways.
- `stopping`   asked to end; SIGTERM sent or about to be.
- `ended`      this attempt is over and another will follow (attempt + 1, from `starting`).
- `complete`   over for good, as asked.
- `failed`     over for good, and not as asked.

Nothing follows `complete` and `failed`. The attempt number only rises. The diagram in the docs is made from
`TRANSITIONS`.
"""

from __future__ import annotations

from typing import Final, Literal

Phase = Literal["pending", "starting", "running", "stopping", "ended", "complete", "failed"]
Health = Literal["unknown", "healthy", "unhealthy"]
Wanted = Literal["run", "stop"]
AllocationStatus = Literal["pending", "starting", "running", "stopping", "complete", "failed", "lost"]
NodeStatus = Literal["ready", "down", "draining", "unknown"]
JobStatus = Literal["pending", "running", "blocked", "failed", "complete", "stopped"]
DeploymentStatus = Literal[
    "pending",
    "running",
    "paused",
    "awaiting_promotion",
    "successful",
    "failed",
    "reverted",
    "superseded",
    "cancelled",
]
LaunchKind = Literal["submit", "restart", "schedule", "force", "dispatch"]
LaunchStatus = Literal["running", "complete", "failed", "stopped"]
DeploymentKind = Literal["submit", "rollback", "scale", "restart", "revert", "secret"]

DRAIN_DEADLINE: Final = "drain_deadline"  # why an allocation is stopped that has not left a drained node in time
DISCONNECTED: Final = "disconnected"  # why an agent stopped one by itself, where nobody answered for so long

RANK: Final[dict[Phase, int]] = {
    "pending": 0,
    "starting": 1,
    "running": 2,
    "stopping": 3,
    "ended": 4,
    "complete": 5,
    "failed": 5,
}
TERMINAL: Final[frozenset[Phase]] = frozenset({"complete", "failed"})
ACTIVE_DEPLOYMENT: Final[frozenset[DeploymentStatus]] = frozenset(
    {"pending", "running", "paused", "awaiting_promotion"}
)

# Within one attempt, from each phase to each that may follow it. A step may be skipped when reports are merged.
TRANSITIONS: Final[dict[Phase, frozenset[Phase]]] = {
    phase: frozenset(after for after, rank in RANK.items() if rank > RANK[phase] and phase not in TERMINAL)
    for phase in RANK
}


def supersedes(attempt: int, phase: Phase, old_attempt: int, old_phase: Phase) -> bool:
    """Tell whether an observation of (attempt, phase) may follow one of (old_attempt, old_phase).

    The same phase again may follow too: health, restarts and ports change within it.
    """
    if old_phase in TERMINAL:
        return False
    if attempt != old_attempt:
        return attempt > old_attempt
    return phase == old_phase or phase in TRANSITIONS[old_phase]


def allocation_status(wanted: Wanted, phase: Phase, *, given_up: bool) -> AllocationStatus:
    """Return the one word that people see for an allocation."""
    if phase in TERMINAL:
        return "complete" if phase == "complete" else "failed"
    if given_up:
        return "lost"
    if phase == "stopping" or wanted == "stop":
        return "stopping"
    return "starting" if phase == "ended" else phase
