"""A cluster of fakes around the planner: its decisions are folded, its agents report, its clock is moved by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from heroctl.domain import spec as specs
from heroctl.domain.assignment import Capacity, Driver, Inventory, Report, SessionRequest
from heroctl.domain.duration import Size
from heroctl.domain.events import AllocMisplaced, Event, Record, SecretWritten, decode, encode
from heroctl.domain.evolve import evolve
from heroctl.domain.intents import drains, jobs, nodes, secrets
from heroctl.domain.lifecycle import Phase
from heroctl.domain.records import Alloc, Job, Node
from reconciler.planner.liveness import Heard
from reconciler.planner.piece import Piece, Plan
from reconciler.planner.plan import Memo, plan
from tests.domain.worlds import World, spec

START: Final = 1_700_000_000_000
MOST_PASSES: Final = 200
SLOW: Final = 20_000  # ms until a slow container is healthy


class Cluster(World):
    """Nodes beat unless they are silent; `step` lets every agent that is not silent act once.

    `behaviour` says what becomes of containers by their first argument: `fails`, `sick` (runs, never healthy), `slow`
    (healthy after a while); else they are healthy at once.
    """

    def __init__(self) -> None:
        self.clock = START
        self.silent: dict[str, int] = {}  # node -> since when
        self.behaviour: dict[str, str] = {}
        self.sick: set[str] = set()  # allocations that will not be healthy any more
        self.memo = Memo()
        super().__init__()

    # ── time and events ──────────────────────────────────────────────────────────────────────────────────────────────

    def add(self, *events: Event, seconds: float = 0) -> None:
        """Apply events as one append, now."""
        self.touched = set()
        last = self.state.index + len(events)
        time = max(self.clock, self.state.time)
        for event in events:
            record = Record(self.state.index + 1, last, time, decode(*encode(event)))
            self.records.append(record)
            self.touched |= evolve(self.state, record)

    def wait(self, ms: int) -> None:
        """Let time pass."""
        self.clock += ms

    # ── nodes ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def join(
        self,
        name: str,
        cpu: float = 4,
        memory: str = "8GiB",
        disk: str = "100GB",
        drivers: Iterable[str] = ("process",),
        *,
        labels: dict[str, str] | None = None,
    ) -> Node:
        """Let a server join and open a session; the planner brings it up."""
        token = f"join-{name}"
        self.do(nodes.create_join_token(token, f"vault-{token}", self.clock + 60_000, "tester"))
        self.do(nodes.register_node(self.state, name, token, f"vault-{name}"))
        node = self.state.node_names[name]
        self.open(node, Capacity(cpu, Size.parse(memory).bytes, Size.parse(disk).bytes), drivers, labels)
        return self.state.nodes[node]

    def open(
        self,
        node: str,
        capacity: Capacity | None = None,
        drivers: Iterable[str] | None = None,
        labels: dict[str, str] | None = None,
    ) -> None:
        """Open a session with a full inventory; the node beats from here on."""
        known = self.state.nodes[node]
        self.silent.pop(node, None)
        offered = known.drivers if drivers is None else {name: Driver(healthy=True) for name in drivers}
        reports = [_report(alloc) for alloc in self.state.allocs_on(node) if alloc.phase != "pending"]
        request = SessionRequest(
            f"boot-{known.name}",
            Inventory(reports),
            capacity or known.capacity,
            offered,
            f"10.0.0.{len(self.records)}",
            labels=known.labels if labels is None else labels,
        )
        self.do(nodes.open_session(self.state, node, request, beating=False))

    def hush(self, name: str) -> None:
        """Make a node silent: no beat, no report."""
        self.silent[self.state.node_names[name]] = self.clock

    def come_back(self, name: str) -> None:
        """Let a silent node open a new session."""
        self.open(self.state.node_names[name])

    def set_eligible(self, name: str, *, eligible: bool) -> None:
        """Say whether a node takes new allocations."""
        node = self.state.nodes[self.state.node_names[name]]
        self.do(nodes.set_eligibility(node, eligible=eligible))

    def drain(self, name: str, seconds: int | None = None) -> None:
        """Have all that runs on a node leave it."""
        self.do(drains.drain_node(self.state.nodes[self.state.node_names[name]], seconds, ignore_system=False))

    def cancel_drain(self, name: str) -> None:
        """Let stay on a node what has not left it."""
        self.do(drains.cancel_drain(self.state.nodes[self.state.node_names[name]], eligible=True))

    def misplace(self, alloc: Alloc) -> None:
        """Find a better node for an allocation."""
        self.add(AllocMisplaced(alloc.id, alloc.namespace, alloc.job, "rebalanced"))

    def remove(self, name: str) -> None:
        """Remove a node."""
        self.silent.pop(self.state.node_names[name], None)
        self.do(nodes.remove_node(self.state.nodes[self.state.node_names[name]]))

    def beats(self) -> dict[str, Heard]:
        """Tell the planner what it would have heard."""
        return {
            node.id: Heard(node.session, self.clock - self.silent.get(node.id, self.clock))
            for node in self.state.nodes.values()
            if node.session
        }

    # ── jobs ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def run(self, name: str = "web", args: str = "v1", **fields: Any) -> Job:  # noqa: ANN401 - a spec's fields
        """Submit a job of one process task whose containers are told apart by `args`."""
        self.do(jobs.submit_job(self.state, spec(job=name, args=[args], **fields), "tester"))
        job = self.state.job("default", name)
        assert job is not None
        return job

    def stop(self, name: str) -> None:
        """Stop a job."""
        self.do(jobs.stop_job(self.state, "default", name))

    def delete(self, name: str) -> None:
        """Delete a job."""
        self.do(jobs.delete_job(self.state, "default", name))

    def write_secret(self, name: str) -> None:
        """Write another version of a secret."""
        number = secrets.next_version(self.state, "default", name)
        written = SecretWritten("default", name, number, f"row-{name}-{number}")
        self.do(secrets.write_secret(self.state, written))

    def delete_secret(self, name: str) -> None:
        """Delete a secret, whoever needs it."""
        self.do(secrets.delete_secret(self.state, "default", name, force=True))

    def allocs(self, name: str) -> list[Alloc]:
        """List the allocations of all jobs that have or had this name."""
        return [alloc for alloc in self.state.allocs.values() if alloc.job == name]

    def live(self, name: str) -> list[Alloc]:
        """List the allocations that fill a slot."""
        return [alloc for alloc in self.allocs(name) if alloc.live]

    # ── the planner ──────────────────────────────────────────────────────────────────────────────────────────────────

    def look(self) -> Plan:
        """Plan once, and apply nothing."""
        return plan(self.state, self.beats(), self.clock, self.memo)

    def decide(self) -> list[Piece]:
        """Plan and apply until there is nothing more to decide now."""
        applied: list[Piece] = []
        for _ in range(MOST_PASSES):
            made = self.look()
            if made.faults:
                raise made.faults[0].error
            for piece in made.pieces:
                self.apply(piece)
            applied += made.pieces
            if not made.pieces and not made.more:
                return applied
        raise AssertionError("the planner does not come to rest")

    def apply(self, piece: Piece) -> None:
        """Let a piece become true."""
        self.add(*piece.events)

    # ── the agents ───────────────────────────────────────────────────────────────────────────────────────────────────

    def step(self) -> bool:
        """Let every agent that is not silent act once, and tell whether any had something to say."""
        before = self.state.index
        for node in list(self.state.nodes.values()):
            if node.id not in self.silent:
                reports = [report for alloc in self.state.allocs_on(node.id) if (report := self._act(alloc))]
                self.report(node, *reports)
        return self.state.index > before

    def _act(self, alloc: Alloc) -> Report | None:
        if alloc.wanted == "stop":
            return _report(alloc, "complete")
        behaviour = self.behaviour.get(self._args(alloc), "")
        if behaviour == "fails":
            return Report(alloc.id, 1, "failed", failed_attempt=1, reason="exited", exit_code=1)
        if behaviour == "sick":
            return Report(alloc.id, 1, "running", "unhealthy", running_for=0.0) if alloc.phase == "pending" else None
        if alloc.health == "healthy" or alloc.id in self.sick:
            return None
        if behaviour == "slow" and self.clock < alloc.created_at + SLOW:
            return None
        return Report(alloc.id, max(alloc.attempt, 1), "running", "healthy", running_for=0.0, healthy_for=0.0)

    def _args(self, alloc: Alloc) -> str:
        version = self.state.jobs[alloc.uid].version(alloc.version)
        return specs.decode(version.spec).tasks[0].args[0] if version is not None else ""

    def fail(self, alloc: Alloc, reason: str = "exited") -> None:
        """Report that an allocation has failed for good."""
        failed = Report(alloc.id, max(alloc.attempt, 1), "failed", failed_attempt=max(alloc.attempt, 1), reason=reason)
        self.report(self.state.nodes[alloc.node], failed)

    def sicken(self, alloc: Alloc) -> None:
        """Report that a running allocation is not healthy any more, and will not be."""
        self.sick.add(alloc.id)
        self.report(self.state.nodes[alloc.node], Report(alloc.id, max(alloc.attempt, 1), "running", "unhealthy"))

    def settle(self, most: int = MOST_PASSES, tick: int = 1_000) -> None:
        """Let planner, agents and clock go on until nothing happens for a minute."""
        quiet = 0
        for _ in range(most):
            acted = bool(self.decide())
            acted = self.step() or acted
            quiet = 0 if acted else quiet + 1
            if quiet * tick >= 60_000:
                return
            self.wait(tick)
        raise AssertionError("the cluster does not come to rest")


def _report(alloc: Alloc, phase: Phase | None = None) -> Report:
    return Report(
        alloc.id,
        alloc.attempt,
        phase or alloc.phase,
        "unknown" if phase else alloc.health,
        failed_attempt=alloc.failed_attempt,
        reason=alloc.reason,
        healthy_for=0.0 if alloc.health == "healthy" and not phase else None,
    )
