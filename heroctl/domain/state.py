"""The state of a cluster: what the events up to an index amount to. Only `evolve` changes it.

Records are frozen and replaced whole; the maps that hold them are changed in place. `topics` gives each topic the index
of the last event that touched it: a long poll waits on one topic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from heroctl.domain.alerts import Alert
from heroctl.domain.holders import JoinToken, Namespace, Policy, Role, Token, User
from heroctl.domain.lifecycle import JobStatus
from heroctl.domain.records import (
    QUARANTINED_AFTER,
    Alloc,
    Deployment,
    Job,
    Launch,
    Member,
    Node,
    Secret,
    Usage,
    Webhook,
)


@dataclass(slots=True)
class State:
    """All of it. `index` and `time` (ms) are those of the last event applied."""

    index: int = 0
    time: int = 0
    cluster: str = ""
    incarnation: str = ""
    coordinator: str = ""
    epoch: int = 0
    level: int = 1  # of the events that may be in the log
    brake: bool = False
    brake_changed: int = 0  # ms: when it last went on or off
    brake_wanted: bool | None = None  # True: an operator holds it on; False: let it go, which has yet to be done
    grown: int = 0  # index of the event with which a node was up for the first time, the last one's
    grown_at: int = 0  # ms
    jobs: dict[int, Job] = field(default_factory=dict)
    names: dict[tuple[str, str], int] = field(default_factory=dict)
    allocs: dict[str, Alloc] = field(default_factory=dict)
    by_job: dict[int, dict[str, None]] = field(default_factory=dict)
    by_node: dict[str, dict[str, None]] = field(default_factory=dict)  # those not over
    nodes: dict[str, Node] = field(default_factory=dict)
    node_names: dict[str, str] = field(default_factory=dict)
    removed_nodes: dict[str, int] = field(default_factory=dict)
    usage: dict[str, Usage] = field(default_factory=dict)
    deployments: dict[str, Deployment] = field(default_factory=dict)
    job_deployments: dict[int, tuple[str, ...]] = field(default_factory=dict)  # oldest first
    launches: dict[int, tuple[Launch, ...]] = field(default_factory=dict)  # of a batch job, oldest first
    ended: dict[int, dict[tuple[int, str, int], str]] = field(
        default_factory=dict
    )  # of a batch job: who ended last in a slot of a launch that goes on
    finished: dict[int, dict[str, None]] = field(default_factory=dict)  # a job's finished allocations, oldest first
    unreplaced: dict[int, dict[tuple[str, int], str]] = field(default_factory=dict)  # a job's failed ones, by slot
    members: dict[str, Member] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    join_tokens: dict[str, JoinToken] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)
    policies: dict[str, Policy] = field(default_factory=dict)
    secrets: dict[tuple[str, str], Secret] = field(default_factory=dict)  # by namespace and name
    webhooks: dict[str, Webhook] = field(default_factory=dict)
    alerts: dict[tuple[str, str], Alert] = field(default_factory=dict)  # by namespace and name
    namespaces: dict[str, Namespace] = field(default_factory=lambda: {"default": Namespace("default")})
    settings: dict[str, str | bool] = field(default_factory=dict)  # of the cluster, those that were ever set
    volumes: dict[str, dict[tuple[str, str, int], str]] = field(default_factory=dict)  # see `volume_of`
    topics: dict[str, int] = field(default_factory=dict)

    def job(self, namespace: str, name: str) -> Job | None:
        """Find the job that holds a name now."""
        uid = self.names.get((namespace, name))
        return None if uid is None else self.jobs[uid]

    def occupied(self, namespace: str) -> bool:
        """Tell whether a namespace holds secrets, webhooks, jobs, or what has not stopped yet of deleted ones."""
        return (
            any(job.namespace == namespace for job in self.jobs.values())
            or any(each == namespace for each, _ in self.secrets)
            or any(hook.namespace == namespace for hook in self.webhooks.values())
        )

    def allocs_of(self, uid: int) -> Iterator[Alloc]:
        """Give a job's allocations, oldest first."""
        return (self.allocs[alloc] for alloc in self.by_job.get(uid, ()))

    def allocs_on(self, node: str) -> Iterator[Alloc]:
        """Give the allocations of a node that are not over."""
        return (self.allocs[alloc] for alloc in self.by_node.get(node, ()))

    def volume_of(self, volume: str, job: str, task: str, slot: int) -> str | None:
        """Find the node that keeps a slot's own volume (`namespace/name`); it does so after the job is deleted, too."""
        return self.volumes.get(volume, {}).get((job, task, slot))

    def topic_index(self, topic: str) -> int:
        """Return the index of the last event that touched a topic; a missing thing's is its collection's."""
        found = self.topics.get(topic)
        if found is None:
            found = self.topics.get(topic.partition(":")[0], 1)
        return found


def job_status(state: State, job: Job) -> JobStatus:
    """Return the one word that people see for a job."""
    if not job.wanted:
        return "stopped"
    if job.blocked and not _serves(state, job):
        return "blocked"
    if job.type == "batch":
        return _launch_status(state, job)
    deployment = state.deployments.get(job.deployment)
    if deployment is not None and deployment.status == "failed":
        return "failed"
    if all(task.count == 0 for task in job.current.tasks):
        return "running"
    return "running" if any(alloc.status == "running" for alloc in state.allocs_of(job.uid)) else "pending"


def _serves(state: State, job: Job) -> bool:
    """Tell whether all replicas of the present version run, whatever keeps them from moving to other nodes."""
    if job.type != "service" or job.plan_failures >= QUARANTINED_AFTER:
        return False
    running = {
        (alloc.task, alloc.content, alloc.slot) for alloc in state.allocs_of(job.uid) if alloc.status == "running"
    }
    return all((task.name, task.content, slot) in running for task in job.current.tasks for slot in range(task.count))


def find_launch(state: State, uid: int, number: int) -> Launch | None:
    """Find a kept launch of a job by its number."""
    return next((launch for launch in reversed(state.launches.get(uid, ())) if launch.number == number), None)


def _launch_status(state: State, job: Job) -> JobStatus:
    """Return how the newest launch stands; before the first one, or after it was stopped, the job waits for another."""
    launch = next(reversed(state.launches.get(job.uid, ())), None)
    if launch is None or launch.status == "stopped":
        return "pending"
    if launch.status != "running":
        return launch.status
    begun = any(alloc.launch == launch.number and alloc.status == "running" for alloc in state.allocs_of(job.uid))
    return "running" if begun or launch.complete else "pending"
