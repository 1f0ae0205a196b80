"""How things stand now: a snapshot in JSON, and the same, and more, in the text that Prometheus reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from api.answer import Answer, answer
from api.call import Call
from api.contract import TEXT, tells
from api.metrics import Usage
from api.usage import value_of
from api.wire import stamp
from eventstore.samples import Exposed
from heroctl.domain.errors import Invalid, Problem
from heroctl.domain.exposition import CONTENT_TYPE, Family, Sample, labelled, marked, number, render
from heroctl.domain.records import Alloc, Node
from heroctl.domain.sampling import Scraped
from heroctl.domain.state import State

MOST_SERIES: Final = 200_000  # of all applications together
_CURRENT: Final = 120  # seconds for which an exposition says what is so now
_PIECE: Final = 2_000
_SCRAPED: Final = msgspec.json.Decoder(Scraped)
_FAMILIES: Final = msgspec.json.Decoder(list[Family])
_PENDING: Final = frozenset({"pending", "starting"})
_OVER: Final = frozenset({"complete", "failed", "lost"})


class Allocs(Struct, frozen=True):
    """How many allocations stand where; `pending`: until their container runs."""

    running: int
    pending: int
    failed: int


class Ingress(Struct, frozen=True):
    """What passes the ingress: requests and errors a second, and how long they take. All 0 where there is none."""

    requests_s: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    errors_s: float = 0.0


class Total(Struct, frozen=True):
    """Of one resource, over all nodes that may be seen: what is used, and what there is."""

    used: float
    total: float


class NodeNow(Struct, frozen=True):
    """A node, as it was measured last. `time`: when; null: not in the last minute."""

    name: str
    status: str
    time: str | None
    cpu: Usage
    mem: Usage
    disk: Usage
    network_in: float
    network_out: float
    load: float
    uptime_s: float
    allocations: int


class Snapshot(Struct, frozen=True):
    """How things stand."""

    time: str
    cpu: Total
    mem: Total
    allocs: Allocs
    ingress: Ingress
    nodes: list[NodeNow]


@tells(Snapshot, "log_unavailable", "busy", also=(TEXT,))
async def show(call: Call) -> Answer:
    """How things stand now: cores, memory, allocations, the ingress, each node.

    With `Accept: text/plain` or `?format=prometheus` in Prometheus' text, which holds what applications with a
    `metrics:` block say of themselves, too. Only what the token may see is told.
    """
    call.allow_nothing()  # each thing is asked for itself
    if _wants_text(call):
        return await _text(call)
    state = call.parts.view.state
    nodes = [_node(call, node) for node in _nodes(call)]
    count = Counter(alloc.status for alloc in _allocs(call))
    pending = count["pending"] + count["starting"]
    now = stamp(int(call.parts.usage.now() * 1000))
    cpu, mem = _total(nodes, "cpu"), _total(nodes, "mem")
    allocs = Allocs(count["running"], pending, count["failed"])
    return answer(Snapshot(now, cpu, mem, allocs, Ingress(), nodes), index=state.index)


def _wants_text(call: Call) -> bool:
    given = call.args.get("format")
    if given not in (None, "json", "prometheus"):
        problem = Problem("format", "invalid_format", "expected json or prometheus")
        raise Invalid("invalid_format", "format: expected json or prometheus", details=(problem,))
    if given is not None:
        return given == "prometheus"
    accepted = b",".join(value for name, value in call.headers if name == b"accept").lower()
    return b"application/json" not in accepted and (b"text/plain" in accepted or b"openmetrics" in accepted)


def _nodes(call: Call) -> Iterator[Node]:
    state, may = call.parts.view.state, call.principal.allows
    return (state.nodes[node] for name, node in sorted(state.node_names.items()) if may("node:read", name))


def _allocs(call: Call) -> Iterator[Alloc]:
    seen: dict[tuple[str, str], bool] = {}
    for alloc in call.parts.view.state.allocs.values():
        key = alloc.namespace, alloc.job
        if key not in seen:
            seen[key] = call.principal.allows("metric:read", *key)
        if seen[key]:
            yield alloc


def _node(call: Call, node: Node) -> NodeNow:
    usage, has = call.parts.usage, node.capacity
    values, at = usage.of("node", node.name), usage.at("node", node.name)
    reserved = call.parts.view.state.usage.get(node.id)

    def told(name: str, limit: float) -> Usage:
        percent = value_of(values, f"{name}_percent") if f"{name}_percent" in values else None
        return Usage(value_of(values, name), limit, percent)

    return NodeNow(
        node.name,
        node.status,
        stamp(at * 1000) if at is not None and values else None,
        told("cpu", has.cpu),
        told("memory", has.memory),
        told("disk", has.disk),
        value_of(values, "network_in"),
        value_of(values, "network_out"),
        value_of(values, "load"),
        value_of(values, "uptime"),
        reserved.allocs if reserved is not None else 0,
    )


def _total(nodes: list[NodeNow], name: str) -> Total:
    shown: list[Usage] = [getattr(node, name) for node in nodes]
    return Total(sum(each.used or 0.0 for each in shown), sum(each.limit or 0.0 for each in shown))


# ── the text ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Measured(NamedTuple):
    """Labels as they are written, and values by name."""

    labels: str
    values: dict[str, float]


_OF_NODES: Final = (
    ("heroctl_node_up", "up", "Whether the node's agent is heard of"),
    ("heroctl_node_cpu_usage_percent", "cpu_percent", "Share of the node's processors in use"),
    ("heroctl_node_cpu_cores", "cpu", "Processors in use"),
    ("heroctl_node_memory_bytes", "memory", "Memory in use"),
    ("heroctl_node_memory_usage_percent", "memory_percent", "Share of the node's memory in use"),
    ("heroctl_node_disk_bytes", "disk", "Disk in use, where the agent keeps its data"),
    ("heroctl_node_disk_usage_percent", "disk_percent", "Share of that disk in use"),
    ("heroctl_node_network_receive_bytes_per_second", "network_in", "Received over networks other than loopback"),
    ("heroctl_node_network_transmit_bytes_per_second", "network_out", "Sent over networks other than loopback"),
    ("heroctl_node_disk_read_bytes_per_second", "disk_read", "Read from disks"),
    ("heroctl_node_disk_write_bytes_per_second", "disk_write", "Written to disks"),
    ("heroctl_node_load1", "load", "Tasks that run or wait, over the last minute"),
    ("heroctl_node_uptime_seconds", "uptime", "Since the machine was started"),
    ("heroctl_node_forward_dropped", "forward_dropped", "Lines that were not taken by what logs are forwarded to"),
)
_OF_ALLOCS: Final = (
    ("heroctl_alloc_cpu_cores", "cpu", "Processors in use"),
    ("heroctl_alloc_cpu_usage_percent", "cpu_percent", "Share of the processors that it may use"),
    ("heroctl_alloc_memory_bytes", "memory", "Memory in use, without what the kernel would give back"),
    ("heroctl_alloc_memory_usage_percent", "memory_percent", "Share of the memory that it may use"),
    ("heroctl_alloc_network_receive_bytes_per_second", "network_in", "Received over networks other than loopback"),
    ("heroctl_alloc_network_transmit_bytes_per_second", "network_out", "Sent over networks other than loopback"),
    ("heroctl_alloc_disk_read_bytes_per_second", "disk_read", "Read from disks"),
    ("heroctl_alloc_disk_write_bytes_per_second", "disk_write", "Written to disks"),
    ("heroctl_alloc_restarts", "restarts", "Attempts that were begun after the first one"),
    ("heroctl_alloc_age_seconds", "age", "Since the present attempt's container was started"),
)
_OF_JOBS: Final = (
    ("heroctl_job_desired_replicas", "desired", "Replicas that the job asks for"),
    ("heroctl_job_healthy_replicas", "healthy", "Replicas that run and are healthy"),
    ("heroctl_job_pending_allocations", "pending", "Allocations whose container does not run yet"),
    ("heroctl_job_active_deployments", "active", "Deployments under way"),
)


async def _text(call: Call) -> Answer:
    usage = call.parts.usage
    exposed = await usage.samples.exposed(int(usage.now()) - _CURRENT)
    state = call.parts.view.state
    nodes = [_node_values(call, node) for node in _nodes(call)]
    allocs = list(_allocs(call))
    own = {alloc.id: _labels_of(state, alloc) for alloc in allocs}
    measured = [_alloc_values(call, alloc, own[alloc.id]) for alloc in allocs if alloc.status not in _OVER]
    statuses = [Sample("heroctl_alloc_status", f'{own[each.id]},status="{each.status}"', "1") for each in allocs]
    jobs = list(_job_values(call, allocs))
    body = await call.parts.aside.do(_rendered(nodes, measured, statuses, jobs, list(_told(call, exposed, own))))
    made = Answer(body, index=state.index)
    made.headers = [(b"content-type", CONTENT_TYPE.encode()), *made.headers[1:]]
    return made


def _rendered(
    nodes: list[Measured],
    allocs: list[Measured],
    statuses: list[Sample],
    jobs: list[Measured],
    told: list[tuple[Exposed, str]],
) -> Generator[None, None, bytes]:
    families = list(_families(_OF_NODES, nodes))
    yield
    for family in _families(_OF_ALLOCS, allocs):
        families.append(family)
        yield
    families.append(Family("heroctl_alloc_status", "gauge", "1 for the status that it has", statuses))
    families += _families(_OF_JOBS, jobs)
    families += _ingress()
    yield from _of_others(told, families)
    return render(families)


def _families(table: Iterable[tuple[str, str, str]], measured: list[Measured]) -> Iterator[Family]:
    for name, value, help_ in table:
        rows = [Sample(name, one.labels, number(one.values[value])) for one in measured if value in one.values]
        yield Family(name, "gauge", help_, rows)


def _ingress() -> list[Family]:
    names = (("requests", "Requests"), ("errors", "Answers of 500 and above"))
    return [
        Family(
            f"heroctl_ingress_{name}_per_second",
            "gauge",
            f"{said} at the ingress",
            [Sample(f"heroctl_ingress_{name}_per_second", "", "0")],
        )
        for name, said in names
    ]


def _of_others(told: list[tuple[Exposed, str]], families: list[Family]) -> Generator[None, None, None]:
    """Add what applications and the cluster's own processes say of themselves, within bounds."""
    up: list[Sample] = []
    lost: list[Sample] = []
    left = MOST_SERIES
    for number_, (exposed, labels) in enumerate(told, 1):
        if exposed.kind == "process":
            families += [marked(family, labels) for family in _FAMILIES.decode(exposed.families)]
            continue
        fits = exposed.families and exposed.series <= left
        said = _SCRAPED.decode(exposed.families) if fits else Scraped(exposed.name, up=True, dropped=exposed.series)
        left -= exposed.series if fits else 0
        up.append(Sample("heroctl_scrape_up", labels, "1" if said.up else "0"))
        lost.append(Sample("heroctl_scrape_dropped_series", labels, str(said.dropped)))
        families += [marked(family, labels) for family in said.families]
        if number_ % 20 == 0:
            yield
    families.append(Family("heroctl_scrape_up", "gauge", "Whether the application's metrics could be read", up))
    help_ = "Series of the application that break a bound, and are left out"
    families.append(Family("heroctl_scrape_dropped_series", "gauge", help_, lost))


def _told(call: Call, exposed: list[Exposed], own: dict[str, str]) -> Iterator[tuple[Exposed, str]]:
    """Say whose each exposition is; those that the token may not see are left out."""
    inside = call.principal.allows("cluster:read")
    for each in exposed:
        if each.kind == "process" and inside:
            yield each, labelled({"process": each.name})
        elif each.kind == "alloc" and each.name in own:
            yield each, own[each.name]


def _node_values(call: Call, node: Node) -> Measured:
    values = call.parts.usage.of("node", node.name)
    return Measured(labelled({"node": node.name}), values | {"up": 1.0 if node.up else 0.0})


def _labels_of(state: State, alloc: Alloc) -> str:
    node = state.nodes.get(alloc.node)
    name = node.name if node is not None else ""
    return labelled(
        {"namespace": alloc.namespace, "job": alloc.job, "task": alloc.task, "alloc": alloc.id, "node": name}
    )


def _alloc_values(call: Call, alloc: Alloc, labels: str) -> Measured:
    values = call.parts.usage.of("alloc", alloc.id)
    if alloc.started_at is not None and alloc.status == "running":
        values["age"] = max(0.0, round(call.parts.usage.now() - alloc.started_at / 1000))
    return Measured(labels, values)


def _job_values(call: Call, allocs: list[Alloc]) -> Iterator[Measured]:
    state = call.parts.view.state
    healthy = Counter(each.uid for each in allocs if each.status == "running" and each.health == "healthy")
    pending = Counter(each.uid for each in allocs if each.status in _PENDING)
    active = Counter(each.uid for each in state.deployments.values() if each.active)
    for (namespace, name), uid in sorted(state.names.items()):
        if call.principal.allows("metric:read", namespace, name):
            desired = sum(task.count for task in state.jobs[uid].current.tasks) if state.jobs[uid].wanted else 0
            counts = {"desired": desired, "healthy": healthy[uid], "pending": pending[uid], "active": active[uid]}
            labels = labelled({"namespace": namespace, "job": name})
            yield Measured(labels, {key: float(value) for key, value in counts.items()})
