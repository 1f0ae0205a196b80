"""What holds of `step` whatever happens, in whatever order, and wherever the agent is killed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from msgspec.structs import replace

from agents.container import Container
from agents.record import Record
from agents.step import Remove, Signal, Start, Wait, step
from heroctl.domain.assignment import MOST_SIGNALS, SignalWish
from heroctl.domain.duration import Duration
from heroctl.domain.lifecycle import TERMINAL, Phase, supersedes
from heroctl.domain.spec import Restart, Task
from tests.agents.world import NODE, WEB, World, assigned

Killed = st.sampled_from(["no", "before the action", "after the action"])
Policies = st.builds(
    Restart,
    attempts=st.integers(0, 3),
    interval=st.just(Duration.of(100)),
    delay=st.sampled_from([Duration.of(0), Duration.of(7)]),
    mode=st.sampled_from(["fail", "delay"]),
)


class Agent(RuleBasedStateMachine):
    """Anything may happen to one allocation; the control plane hears every record, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.heard: tuple[int, Phase] = (0, "pending")
        self.lost = False
        self.left_at = 0.0
        self.spec: Task = WEB
        self.digest = "d1"
        self.restart = 0
        self.signals: list[SignalWish] = []
        self.numbered = 0

    @initialize(policy=Policies, delay=st.sampled_from([0, 10]))
    def begin(self, policy: Restart, delay: int) -> None:
        self.spec = replace(WEB, restart=policy, shutdown_delay=Duration.of(delay))
        self.want()

    def want(self, wanted: str = "") -> None:
        wanted = wanted or ("run" if self.world.wanted is None else self.world.wanted.wanted)
        named = assigned(self.spec, wanted=wanted, digest=self.digest, seen=self.heard[0])
        self.world.wanted = replace(named, restart=self.restart, signals=tuple(self.signals))

    @rule(killed=Killed)
    def turn(self, killed: str) -> None:
        world = self.world
        observed = None if world.containers is None else list(world.containers.values())
        decided = step(world.wish, world.record, observed, world.now, NODE)
        self.judge(world.record, decided.record, decided.action)
        world.keep(decided.record)
        self.hear()
        if killed != "before the action":
            world.act(decided.action)
            self.hear()
        if killed != "no":
            world.kill_agent()

    def judge(self, before: Record, after: Record, action: object) -> None:
        """A terminal record is final; a container of the wanted content is never asked to end while it should run.

        One that stops is asked only once it has been out of the traffic for so long.
        """
        if before.phase in TERMINAL:
            assert (after.attempt, after.phase) == (before.attempt, before.phase)
        else:
            assert after.attempt > before.attempt or supersedes(
                after.attempt, after.phase, before.attempt, before.phase
            )
        world = self.world
        assert world.wanted is not None
        if world.containers is None:
            assert isinstance(action, Wait)
        elif isinstance(action, Signal) and world.wanted.wanted == "run" and after.phase not in TERMINAL:
            target = world.containers[action.container]
            same = [one for one in world.containers.values() if one.digest == self.digest and one.state == "running"]
            anew = target.attempt <= self.restart or before.attempt <= self.restart
            assert target.digest != self.digest or len(same) > 1 or anew
        if after.phase == "stopping" and before.phase != "stopping":
            self.left_at = world.now
        if isinstance(action, Signal) and after.phase == "stopping":
            assert world.now >= self.left_at + self.spec.shutdown_delay.seconds
        if isinstance(action, Start):
            assert not world.containers
            assert world.wanted.wanted == "run"

    def hear(self) -> None:
        record = self.world.record
        done = max((each.number for each in record.signalled), default=0)
        self.signals = [wish for wish in self.signals if wish.number > done]
        assert len(set(self.world.arrived)) == len(self.world.arrived)
        if supersedes(record.attempt, record.phase, *self.heard):
            self.heard = (record.attempt, record.phase)
        else:
            assert self.lost or self.heard == (record.attempt, record.phase)
        self.want()

    @precondition(lambda self: self.world.containers)
    @rule(code=st.sampled_from([0, 1, 137, None]), oom=st.booleans())
    def a_container_ends(self, code: int | None, oom: bool) -> None:  # noqa: FBT001 - drawn by name
        assert self.world.containers is not None
        self.world.exit(code, min(self.world.containers), oom=oom)

    @precondition(lambda self: self.world.containers)
    @rule()
    def someone_removes_a_container(self) -> None:
        assert self.world.containers is not None
        del self.world.containers[min(self.world.containers)]

    @precondition(lambda self: self.world.containers is not None and len(self.world.containers) < 3)
    @rule(state=st.sampled_from(["created", "running", "exited"]), digest=st.sampled_from(["d1", "d2"]))
    def a_second_container_appears(self, state: str, digest: str) -> None:
        above = 1 if self.lost and state == "running" else 0  # copies of what was reported as over are nobody's doing
        self.world.add(state=state, digest=digest, attempt=max(1, self.world.record.attempt, self.heard[0] + above))

    @rule(seconds=st.sampled_from([0.5, 6.0, 20.0, 150.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds

    @rule(stubborn=st.booleans())
    def workloads_listen_or_not(self, stubborn: bool) -> None:  # noqa: FBT001 - drawn by name
        self.world.stubborn = stubborn

    @rule()
    def the_user_wants_a_stop(self) -> None:
        self.want("stop")

    @precondition(lambda self: self.heard[0] > 0 and self.heard[1] not in TERMINAL)
    @rule()
    def the_user_wants_it_anew(self) -> None:
        self.restart = self.heard[0]
        self.want()

    @precondition(lambda self: self.heard[1] == "running" and len(self.signals) < MOST_SIGNALS)
    @rule()
    def the_user_sends_a_signal(self) -> None:
        self.numbered += 1
        self.signals.append(SignalWish(self.numbered, self.heard[0], "SIGHUP"))
        self.want()

    @rule(policy=Policies)
    def the_policy_changes(self, policy: Restart) -> None:
        self.spec = replace(self.spec, restart=policy)
        self.want()

    @rule(digest=st.sampled_from(["d1", "d2"]))
    def the_content_changes(self, digest: str) -> None:
        self.digest = digest
        self.want()

    def may_lose(self) -> bool:
        """Not those of what is being replaced: should it be wanted again, nothing else tells that it was to stop."""
        replaced = self.heard[1] == "stopping" and self.world.wanted is not None and self.world.wanted.wanted == "run"
        return self.heard[1] not in TERMINAL and not replaced

    @precondition(may_lose)
    @rule()
    def the_agent_loses_its_files(self) -> None:
        self.lost = True
        self.world.lose_files()
        self.signals.clear()  # one that was sent and not told of might be sent again: nothing tells of it
        self.want()

    def teardown(self) -> None:
        """In calm everything comes to rest, and what was heard last is what is true."""
        if self.world.wanted is None:
            return
        self.world.stubborn = False
        for _ in range(3):
            self.world.rest()
            self.hear()
        assert self.heard == (self.world.record.attempt, self.world.record.phase)
        live = [(one.digest, one.state) for one in (self.world.containers or {}).values()]
        if self.world.record.phase in TERMINAL:
            assert live == []
        else:
            assert live == [(self.digest, "running")]
            assert self.world.wanted.wanted == "run"
            assert self.world.record.attempt > self.restart
            assert self.signals == []


TestAgent = Agent.TestCase
TestAgent.settings = settings(max_examples=150, stateful_step_count=40)


@given(kills=st.sets(st.integers(0, 12)), exits=st.lists(st.integers(0, 8), max_size=4), stop=st.booleans())
def test_killed_anywhere_it_converges_to_the_same_containers(kills: set[int], exits: list[int], stop: bool) -> None:  # noqa: FBT001 - drawn by name
    assert _after(kills, exits, stop=stop) == _after(set(), exits, stop=stop)


def _after(kills: set[int], exits: list[int], *, stop: bool) -> tuple[list[Container], int, Phase]:
    """Run a world in which the container ends after certain times, with the agent killed at certain turns."""
    world = World(assigned(replace(WEB, image="far:1")))
    world.rest()
    turn = 0
    for code in exits:
        if world.containers:
            world.exit(code)
        for _ in range(6):
            action = world.once()
            if turn in kills:
                world.kill_agent()
            if isinstance(action, Wait) and action.until is not None:
                world.now = max(world.now, action.until)
            turn += 1
    if stop:
        world.wanted = assigned(replace(WEB, image="far:1"), wanted="stop")
    world.rest()
    assert world.containers is not None
    found = [replace(one, started_at=None) for one in world.containers.values()]
    return found, world.record.attempt, world.record.phase


@given(wanted=st.sampled_from(["run", "stop"]), phase=st.sampled_from(["pending", "starting", "running", "ended"]))
def test_ignorance_leads_to_nothing(wanted: str, phase: Phase) -> None:
    record = Record("alloc1", attempt=1, phase=phase, container="c1")
    world = World(assigned(wanted=wanted))
    decided = step(world.wish, record, None, world.now, NODE)
    assert decided.record == record
    assert isinstance(decided.action, Wait)


@given(phase=st.sampled_from(["complete", "failed"]), wanted=st.sampled_from(["run", "stop"]), left=st.booleans())
def test_after_the_end_things_are_only_cleared_away(phase: Phase, wanted: str, left: bool) -> None:  # noqa: FBT001 - drawn by name
    world = World(assigned(wanted=wanted))
    world.keep(Record("alloc1", attempt=1, phase=phase))
    if left:
        world.add()
    world.rest()
    assert (world.record.phase, world.containers) == (phase, {})
    assert not [action for action in world.done if not isinstance(action, Wait | Signal | Remove)]
