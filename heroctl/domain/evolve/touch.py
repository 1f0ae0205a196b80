"""Where an event stands, and what it touched."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from heroctl.domain.state import (
    DEPLOYMENTS,
    JOBS,
    NODES,
    Alloc,
    Deployment,
    Job,
    State,
    deployment_topic,
    job_deployments_topic,
    job_topic,
    node_topic,
)


@lru_cache(maxsize=65_536)
def _deployment_topics(deployment: str, job: str) -> tuple[str, ...]:
    return (DEPLOYMENTS, deployment_topic(deployment), job_deployments_topic(job))


@lru_cache(maxsize=65_536)
def _node_topics(node: str) -> tuple[str, ...]:
    return (NODES, node_topic(node))


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
        self.topics.update(alloc.topics)

    def node(self, node: str) -> None:
        """Raise a node's topic and the list of nodes."""
        self.topics.update(_node_topics(node))

    def deployment(self, deployment: Deployment) -> None:
        """Raise a deployment's topic and the lists it stands in."""
        self.topics.update(_deployment_topics(deployment.id, deployment.job))


Fold = Callable[[State, Any, Touch], None]
