"""Where an event stands, and what it touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from heroctl.domain.state import (
    ALLOCS,
    DEPLOYMENTS,
    JOBS,
    NODES,
    Alloc,
    Deployment,
    Job,
    Node,
    State,
    deployment_topic,
    job_deployments_topic,
    job_topic,
    node_topic,
)


class Touch:
    """The event's index and time (ms), and the topics it raises or, when a thing is gone for good, forgets."""

    __slots__ = ("forgotten", "index", "time", "topics")

    def __init__(self, index: int, time: int) -> None:
        """Start with nothing touched."""
        self.index = index
        self.time = time
        self.topics: set[str] = set()
        self.forgotten: list[str] = []

    def job(self, job: Job) -> None:
        """Raise a job's topic and the list of jobs."""
        self.topics.update((JOBS, job_topic(job.namespace, job.name)))

    def alloc(self, alloc: Alloc) -> None:
        """Raise an allocation's topic, every list it stands in, and its job's, which counts it."""
        job = alloc.job
        self.topics.update(
            (
                ALLOCS,
                f"allocs:{alloc.id}",
                f"allocs:job={job}",
                f"allocs:node={alloc.node}",
                JOBS,
                f"jobs:{alloc.namespace}/{job}",
            )
        )

    def node(self, node: Node) -> None:
        """Raise a node's topic and the list of nodes."""
        self.topics.update((NODES, node_topic(node.id)))

    def deployment(self, deployment: Deployment) -> None:
        """Raise a deployment's topic and the lists it stands in."""
        self.topics.update((DEPLOYMENTS, deployment_topic(deployment.id), job_deployments_topic(deployment.job)))


Fold = Callable[[State, Any, Touch], None]
