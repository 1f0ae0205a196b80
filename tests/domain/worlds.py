"""A small world to try the core in: a state that events are applied to one by one, as the log would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heroctl.domain import validate
from heroctl.domain.assignment import Capacity, Driver, Inventory, Report, SessionRequest
from heroctl.domain.events import AllocPlaced, ClusterCreated, Event, NodeUp, Record, decode, encode
from heroctl.domain.evolve import evolve
from heroctl.domain.ids import allocation_id
from heroctl.domain.intents import jobs, nodes
from heroctl.domain.records import Alloc, Job, Node
from heroctl.domain.state import State

if TYPE_CHECKING:
    from heroctl.domain.intents.change import Change


class World:
    """A state and the events that made it; every event passes through its encoding on the way."""

    def __init__(self) -> None:
        """Begin as every log begins."""
        self.state = State()
        self.records: list[Record] = []
        self.touched: set[str] = set()
        self.add(ClusterCreated("c1", "inc1"))

    def add(self, *events: Event, seconds: float = 1) -> None:
        """Apply events as one append, `seconds` after the last."""
        time = self.state.time + round(seconds * 1000)
        last = self.state.index + len(events)
        self.touched = set()
        for event in events:
            record = Record(self.state.index + 1, last, time, decode(*encode(event)))
            self.records.append(record)
            self.touched |= evolve(self.state, record)

    def do(self, change: Change, seconds: float = 1) -> None:
        """Apply what an intent decided."""
        if change.events:
            self.add(*change.events, seconds=seconds)

    def submit(self, **fields: Any) -> Job:  # noqa: ANN401 - a spec's fields
        """Submit a job, of one process task unless told otherwise, and return it."""
        self.do(jobs.submit_job(self.state, spec(**fields), "tester"))
        job = self.state.job("default", fields.get("job", "web"))
        assert job is not None
        return job

    def node(self, name: str = "n1") -> Node:
        """Bring up a node."""
        token = f"join-{name}"
        self.do(nodes.create_join_token(token, f"vault-{token}", self.state.time + 60_000, "tester"))
        self.do(nodes.register_node(self.state, name, token, f"vault-{name}"))
        node_id = self.state.node_names[name]
        request = SessionRequest(
            f"boot-{name}", Inventory(), Capacity(4, 8 << 30, 100 << 30), {"process": Driver(healthy=True)}, "10.0.0.1"
        )
        self.do(nodes.open_session(self.state, node_id, request, beating=False))
        self.add(NodeUp(node_id, name))
        return self.state.nodes[node_id]

    def place(self, job: Job, node: Node, slot: int = 0, task: str = "main", **more: Any) -> Alloc:  # noqa: ANN401 - fields of the event
        """Place one slot, as the coordinator would."""
        job = self.state.jobs[job.uid]
        summary = job.current.task(task)
        assert summary is not None
        alloc = allocation_id(self.state.incarnation, job.uid, job.next_n)
        self.add(
            AllocPlaced(
                alloc,
                job.uid,
                job.next_n,
                job.namespace,
                job.name,
                task,
                slot,
                job.current.version,
                summary.content,
                node.id,
                0.5,
                256_000_000,
                300_000_000,
                deployment=job.deployment,
                **more,
            )
        )
        return self.state.allocs[alloc]

    def report(self, node: Node, *reports: Report, seconds: float = 1) -> list[str]:
        """Report as the node's agent, and return the outcomes."""
        node = self.state.nodes[node.id]
        change, outcomes = nodes.report(self.state, node.id, node.session, list(reports))
        self.do(change, seconds)
        return list(outcomes)


def spec(**fields: Any) -> Any:  # noqa: ANN401 - a spec
    """Make a spec of one process task; fields of the task may be given beside the job's."""
    others = ("tasks", "meta", "namespace", "type", "priority", "periodic", "dispatch")
    job_fields = {"job": "web", **dict.fromkeys(others)}
    job = {name: fields.pop(name, default) for name, default in job_fields.items()}
    task = {"name": "main", "driver": "process", "command": ["serve"], **fields}
    job["tasks"] = job["tasks"] or [task]
    return validate.parse({name: value for name, value in job.items() if value is not None})
