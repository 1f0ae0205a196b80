"""Topics: what a long poll waits on. Each has the index of the last event that touched it."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

JOBS: Final = "jobs"
ALLOCS: Final = "allocs"
NODES: Final = "nodes"
DEPLOYMENTS: Final = "deployments"
CLUSTER: Final = "cluster"
PEERS: Final = "peers"
ACL: Final = "acl"
NAMESPACES: Final = "namespaces"
SECRETS: Final = "secrets"
WEBHOOKS: Final = "webhooks"
ALERTS: Final = "alerts"
SETTINGS: Final = "settings"
SERVICES: Final = "services"
FLEET: Final = "fleet"  # moves when a node comes, goes, or may be something else than before; not with its use
CAPACITY: Final = "capacity"  # moves when something that was blocked might fit now
COLLECTIONS: Final = frozenset(
    {JOBS, ALLOCS, NODES, DEPLOYMENTS, CLUSTER, PEERS, ACL, NAMESPACES, SECRETS, WEBHOOKS, SETTINGS, SERVICES, ALERTS}
)


def job_topic(namespace: str, name: str) -> str:
    """Name the topic of one job; in its collection `jobs`."""
    return f"jobs:{namespace}/{name}"


def alloc_topic(alloc: str) -> str:
    """Name the topic of one allocation."""
    return f"allocs:{alloc}"


def job_allocs_topic(job: str) -> str:
    """Name the topic of the allocations of all jobs of this name."""
    return f"allocs:job={job}"


def node_allocs_topic(node: str) -> str:
    """Name the topic of the allocations on one node."""
    return f"allocs:node={node}"


def alloc_topics(alloc: str, namespace: str, job: str, node: str) -> tuple[str, ...]:
    """Name every topic that a change of an allocation touches: its own, its lists', and its job's, which counts it."""
    return (alloc_topic(alloc), *_alloc_lists(namespace, job, node))


@lru_cache(maxsize=16_384)
def _alloc_lists(namespace: str, job: str, node: str) -> tuple[str, ...]:
    return (ALLOCS, job_allocs_topic(job), node_allocs_topic(node), JOBS, job_topic(namespace, job))


def service_topic(namespace: str, job: str) -> str:
    """Name the topic of the services of one job."""
    return f"{SERVICES}:{namespace}/{job}"


def node_topic(node: str) -> str:
    """Name the topic of one node."""
    return f"nodes:{node}"


def deployment_topic(deployment: str) -> str:
    """Name the topic of one deployment."""
    return f"deployments:{deployment}"


def job_deployments_topic(job: str) -> str:
    """Name the topic of the deployments of all jobs of this name."""
    return f"deployments:job={job}"


def deployment_topics(deployment: str, job: str) -> tuple[str, ...]:
    """Name every topic that a change of a deployment touches: its own and its lists'."""
    return (DEPLOYMENTS, deployment_topic(deployment), job_deployments_topic(job))


def assignment_topic(node: str) -> str:
    """Name the topic of what a node should run."""
    return f"assignment:{node}"


def secret_topic(namespace: str, name: str) -> str:
    """Name the topic of one secret: of its name and its versions, never of what they hold."""
    return f"{SECRETS}:{namespace}/{name}"


def alert_topic(namespace: str, name: str) -> str:
    """Name the topic of one alert."""
    return f"{ALERTS}:{namespace}/{name}"


def webhook_topic(webhook: str) -> str:
    """Name the topic of one webhook; what is delivered to it moves none."""
    return f"{WEBHOOKS}:{webhook}"
