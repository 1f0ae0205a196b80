"""A node in miniature: one allocation, containers that do as they are told, an agent that may be killed anywhere."""

from __future__ import annotations

from msgspec.structs import replace

from agents.asked import TOO_LATE, sent
from agents.container import Container, Node
from agents.record import Record, interrupted, restored
from agents.step import (
    Action,
    Deliver,
    Fault,
    Pull,
    Remove,
    Reserve,
    Signal,
    Start,
    Wait,
    Wish,
    faulted,
    pulled,
    reserved,
    step,
)
from heroctl.domain.assignment import Assigned
from heroctl.domain.duration import Duration
from heroctl.domain.spec import Port, Restart, Task

NODE = Node(id="n1", name="alpha", cluster="test", address="10.0.0.1", labels={"zone": "a"}, attributes={"os": "linux"})
WEB = Task(
    name="web",
    image="shop:1",
    ports={"http": Port(8080)},
    restart=Restart(attempts=2, interval=Duration.of(600), delay=Duration.of(10)),
    kill_timeout=Duration.of(5),
)


def assigned(spec: Task = WEB, *, wanted: str = "run", digest: str = "d1", seen: int = 0, index: int = 1) -> Assigned:
    return Assigned(
        id="alloc1",
        namespace="default",
        job="shop",
        task=spec.name,
        slot=0,
        version=1,
        wanted="run" if wanted == "run" else "stop",
        digest=digest,
        spec=spec,
        cluster="test",
        node="alpha",
        address="10.0.0.1",
        index=index,
        seen_attempt=seen,
    )


class World:
    """Holds what is true (containers), what is on disk (saved) and what the agent has in memory (record)."""

    def __init__(self, wanted: Assigned | None = None) -> None:
        self.now = 100.0
        self.wanted = wanted
        self.containers: dict[str, Container] | None = {}
        self.saved = self.record = Record("alloc1")
        self.images = {"shop:1"}
        self.stubborn = False  # whether workloads ignore the stop signal
        self.faults: dict[int, Fault] = {}  # by attempt: what starting it ends with
        self.made = 0
        self.done: list[Action] = []
        self.arrived: list[int] = []  # numbers of signals that a workload heard

    @property
    def wish(self) -> Wish:
        if self.wanted is None:
            return Wish("keep")
        return Wish(self.wanted.wanted, self.wanted, "inc1")

    @property
    def only(self) -> Container:
        assert self.containers is not None
        (container,) = self.containers.values()
        return container

    def once(self) -> Action:
        """Do one turn of the worker: decide, keep, act."""
        observed = None if self.containers is None else list(self.containers.values())
        decided = step(self.wish, self.record, observed, self.now, NODE)
        self.keep(decided.record)
        self.act(decided.action)
        return decided.action

    def keep(self, record: Record) -> None:
        self.record = self.saved = record

    def act(self, action: Action) -> None:
        self.done.append(action)
        match action:
            case Start(description):
                self._start(description.labels["heroctl.digest"], int(description.labels["heroctl.attempt"]))
            case Pull(image):
                self.images.add(image)
                self.keep(pulled(self.record))
            case Reserve(names, avoid):
                free = (port for port in range(20_000, 32_001) if port not in avoid)
                self.keep(reserved(self.record, {name: next(free) for name in names}))
            case Signal(container, signal):
                if signal == "SIGKILL" or not self.stubborn:
                    self.exit(137 if signal == "SIGKILL" else 143, container)
            case Deliver(container, signal):
                assert self.containers is not None
                arrived = container in self.containers and self.containers[container].state == "running"
                self.arrived += [signal.number] if arrived else []
                self.keep(sent(self.record, signal.number, "" if arrived else TOO_LATE))
            case Remove(container):
                assert self.containers is not None
                assert self.containers.pop(container).state != "running"
            case Wait():
                pass

    def _start(self, digest: str, attempt: int) -> None:
        assert self.wanted is not None
        assert self.containers is not None
        fault = self.faults.get(attempt)
        if self.wanted.spec.image not in self.images:
            fault = Fault("absent", "image_absent")
        if fault is not None:
            self.keep(faulted(self.record, self.wanted, fault, self.now))
            return
        self.add(digest=digest, attempt=attempt, ports=self.record.ports)

    def add(self, *, digest: str = "d1", attempt: int = 1, state: str = "running", **more: object) -> Container:
        assert self.containers is not None
        self.made += 1
        made = Container(
            id=f"c{self.made}",
            alloc="alloc1",
            digest=digest,
            attempt=attempt,
            state=state,  # type: ignore[arg-type] # a word of the three
            started_at=self.now,
            **more,  # type: ignore[arg-type] # fields of Container
        )
        self.containers[made.id] = made
        return made

    def exit(self, code: int | None, container: str = "", *, oom: bool = False) -> None:
        assert self.containers is not None
        container = container or self.record.container
        if self.containers[container].state == "running":
            self.containers[container] = replace(self.containers[container], state="exited", exit_code=code, oom=oom)

    def settle(self, most: int = 50) -> Wait:
        """Turn until there is nothing to do now."""
        for _ in range(most):
            action = self.once()
            if isinstance(action, Wait) and not (action.until is not None and action.until <= self.now):
                return action
        raise AssertionError(f"never comes to rest: {self.done[-6:]}")

    def rest(self) -> None:
        """Turn, and let time pass, until nothing is left to wait for."""
        for _ in range(50):
            wait = self.settle()
            if wait.until is None:
                return
            self.now = wait.until
        raise AssertionError(f"never comes to rest: {self.done[-6:]}")

    def kill_agent(self) -> None:
        """End the agent without warning and start it again: what is on disk is all it has."""
        self.record = restored(self.saved, 0.0)

    def lose_files(self) -> None:
        """End the agent, lose its files, and start it again."""
        self.saved = self.record = Record("alloc1")

    def end_with_workloads(self) -> None:
        """End the agent in dev mode: it takes its workloads with it."""
        self.containers = {}
        self.keep(interrupted(self.record))
        self.kill_agent()

    def names(self) -> list[str]:
        """Name what was done since last asked, without the waits."""
        names = [type(action).__name__.lower() for action in self.done if not isinstance(action, Wait)]
        self.done.clear()
        return names
