"""Where an event stands, and what it touched."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from heroctl.domain.records import Deployment, Job
from heroctl.domain.state import State
from heroctl.domain.topics import JOBS, NODES, SERVICES, job_topic, node_topic, service_topic


@lru_cache(maxsize=65_536)
def _node_topics(node: str) -> tuple[str, ...]:
    return (NODES, node_topic(node))


class Touch:
    """Where the present event stands (`index`, `time` in ms), and what it and those before it touched.

    A run of events shares one, so that a topic that each of them raises is written down once, by `settle`.
    """

    __slots__ = ("forgotten", "index", "raised", "time")

    def __init__(self) -> None:
        """Start with nothing touched."""
        self.index = 0
        self.time = 0
        self.raised: dict[str, int] = {}
        self.forgotten: set[str] = set()

    def add(self, *topics: str) -> None:
        """Raise topics to the present index."""
        self.all(topics)

    def all(self, topics: tuple[str, ...]) -> None:
        """Raise every one of some topics to the present index."""
        raised, index = self.raised, self.index
        for topic in topics:
            raised[topic] = index

    def forget(self, topic: str) -> None:
        """Forget the topic of a thing that is gone for good; whoever waits for it is woken all the same."""
        self.raised.pop(topic, None)
        self.forgotten.add(topic)

    def settle(self, state: State) -> set[str]:
        """Write the topics' indexes down, and return every topic that was touched."""
        for topic in self.forgotten:
            state.topics.pop(topic, None)
        state.topics.update(self.raised)
        return self.forgotten.union(self.raised)

    def job(self, job: Job) -> None:
        """Raise a job's topic and the list of jobs."""
        self.add(JOBS, job_topic(job.namespace, job.name))

    def services(self, namespace: str, job: str) -> None:
        """Raise the topic of a job's services and the list of all."""
        self.add(SERVICES, service_topic(namespace, job))

    def node(self, node: str) -> None:
        """Raise a node's topic and the list of nodes."""
        self.all(_node_topics(node))

    def deployment(self, deployment: Deployment) -> None:
        """Raise a deployment's topic and the lists it stands in."""
        self.all(deployment.topics)


Fold = Callable[[State, Any, Touch], None]
