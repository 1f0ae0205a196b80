"""The coordinator's shell: when it plans, what it does with answers, and how others take over."""

from __future__ import annotations

import pytest

from eventstore.log import Append, LogUnavailable, Rejected
from eventstore.members import Present
from heroctl.domain.events import AllocPlaced, JobDeployed, Opaque
from heroctl.domain.intents import jobs, nodes
from heroctl.domain.records import Member
from reconciler.serve import Process, _say_goodbye
from tests.eventstore.fastloop import elapse
from tests.reconciler.rig import Rig, run


async def deployed(rig: Rig, *names: str) -> None:
    """Start reconcilers and have a job of two replicas deployed on three nodes."""
    for name in names or ("r1",):
        rig.start(name)
    for node in ("n1", "n2", "n3"):
        await rig.join(node)
    await rig.submit(count=2)
    await rig.until(lambda: finished(rig))


def finished(rig: Rig, name: str = "web") -> bool:
    job = rig.state.job("default", name)
    return job is not None and rig.state.deployments[job.deployment].status == "successful"


def test_a_job_is_deployed_and_then_nothing_is_appended() -> None:
    async def story(rig: Rig) -> None:
        await deployed(rig)
        assert len(rig.live()) == 2
        quiet_from = rig.api.index
        await elapse(600)
        assert rig.api.index == quiet_from

    run(story)


def test_decisions_carry_the_epoch_and_their_expectations() -> None:
    seen: list[Append] = []

    async def story(rig: Rig) -> None:
        async def note(append: Append) -> None:
            if any(isinstance(event, AllocPlaced) for event in append.events):
                seen.append(append)

        rig.log.before = note
        await deployed(rig)

    run(story)
    [placing] = seen
    assert placing.epoch == 1
    assert placing.meta.actor == "coordinator"
    assert placing.expects[0][0] == "job:default/web"
    assert len(placing.expects) == 3


@pytest.mark.parametrize("silently", [True, False])
def test_another_takes_over(silently: bool) -> None:  # noqa: FBT001 - both ways
    """Killed: when the lease has run out. Asked to end: at once."""

    async def story(rig: Rig) -> None:
        await deployed(rig, "r1", "r2")
        [first] = rig.coordinators()
        [second] = rig.reconcilers.keys() - {first}
        gone = rig.reconcilers[first]
        await rig.kill(first)
        if not silently:
            await _say_goodbye(Process(gone.keeper, gone.presence, gone.coordinator))
        await rig.submit("api")
        took = await rig.until(lambda: rig.live("api"))
        assert took < (16 if silently else 1)
        assert rig.coordinators() == [second]
        await rig.until(lambda: first not in rig.state.members)

    run(story)


def test_without_a_successor_the_lease_ends_at_once() -> None:
    async def story(rig: Rig) -> None:
        await deployed(rig, "r1")
        gone = rig.reconcilers["r1"]
        await rig.kill("r1")
        await _say_goodbye(Process(gone.keeper, gone.presence, gone.coordinator))
        rig.start("r2")
        assert await rig.until(lambda: rig.coordinators() == ["r2"]) < 1

    run(story)


def test_fenced_it_steps_down_and_decides_under_a_new_epoch_only() -> None:
    async def story(rig: Rig) -> None:
        await deployed(rig)
        rig.log.epoch += 1  # somebody was elected of whom nobody knows
        await rig.submit("api")
        await rig.until(lambda: rig.live("api"))
        assert rig.state.epoch == 3
        assert rig.reconcilers["r1"].keeper.epoch() == 3

    run(story)


def test_when_nobody_knows_what_became_of_an_append_it_is_elected_anew() -> None:
    async def story(rig: Rig) -> None:
        await deployed(rig)
        broken: list[Append] = []

        async def break_off(append: Append) -> None:
            if append.epoch is not None and not broken:
                broken.append(append)
                await type(rig.log).__mro__[1].append(rig.log, append)  # type: ignore[attr-defined] # the memory log's own
                raise LogUnavailable("gone", unknown=True)

        rig.log.before = break_off
        await rig.submit("api")
        await rig.until(lambda: finished(rig, "api"))
        assert rig.state.epoch == 2
        assert len(rig.live("api")) == 1

    run(story)


def test_a_conflict_is_planned_again() -> None:
    """A user was quicker: the decision on the state before never becomes true."""

    async def story(rig: Rig) -> None:
        await deployed(rig)

        stopped: list[Append] = []

        async def stop_first(append: Append) -> None:
            if not stopped and any(isinstance(event, AllocPlaced) for event in append.events):
                stopped.append(append)
                await rig.do(jobs.stop_job(rig.state, "default", "api"))

        rig.log.before = stop_first
        await rig.submit("api")
        await elapse(30)
        assert len(stopped) == 1
        assert not [alloc for alloc in rig.state.allocs.values() if alloc.job == "api"]

    run(story)


@pytest.mark.parametrize("nth", [0, 1, 2])
def test_of_a_job_in_two_pieces_none_is_true_without_the_one_before_it(nth: int) -> None:
    """A node changes before the first piece, before the second, or never: in the end each slot is filled once."""

    async def story(rig: Rig) -> None:
        await deployed(rig)
        first = rig.state.node_names["n1"]
        pieces: list[Append] = []

        async def meddle(append: Append) -> None:
            if any(isinstance(event, AllocPlaced) for event in append.events):
                pieces.append(append)
                if len(pieces) == nth + 1:
                    await rig.do(nodes.set_eligibility(rig.state.nodes[first], eligible=False))

        rig.log.before = meddle
        small = {"cpu": 0.01, "memory": "1MB", "disk": "1MB"}
        await rig.submit("api", count=1_200, resources=small)
        await rig.until(lambda: len(rig.live("api")) == 1_200)
        assert [len(piece.events) for piece in pieces[:2]] == [997, 203]
        assert [len(piece.events) for piece in pieces[2:]] == [[997, 203], [203], []][nth]
        assert {alloc.slot for alloc in rig.live("api")} == set(range(1_200))

    run(story)


def test_a_lost_node_is_replaced_in_time() -> None:
    async def story(rig: Rig) -> None:
        await deployed(rig)
        lost = rig.live()[0].node
        rig.silent.add(lost)
        assert 11 < await rig.until(lambda: rig.state.nodes[lost].up is False) <= 16
        assert 5 <= await rig.until(lambda: lost not in {alloc.node for alloc in rig.live()}) < 7
        await rig.open(lost)
        await rig.until(lambda: rig.state.nodes[lost].up)
        await rig.until(lambda: not any(alloc.given_up and not alloc.terminal for alloc in rig.state.allocs.values()))

    run(story)


def test_a_log_that_is_away_makes_no_node_silent() -> None:
    async def story(rig: Rig) -> None:
        await deployed(rig)
        before = rig.api.index
        rig.log.away = True
        await elapse(60)
        rig.log.away = False
        rig.log.ring()
        await elapse(30)
        assert all(node.up for node in rig.state.nodes.values())
        told = [record async for page in rig.log.read(before) for record in page]
        assert {record.event.TAG for record in told} <= {"coordinator.elected", "member.left", "member.joined"}
        await rig.submit("api")
        await rig.until(lambda: finished(rig, "api"))

    run(story)


def test_who_reads_late_decides_nothing_twice() -> None:
    """Neither before it has read what it appended, nor before it has read what the one before it had."""

    async def story(rig: Rig) -> None:
        rig.start("slow", lag=8)
        for node in ("n1", "n2", "n3"):
            await rig.join(node)
        await rig.submit(count=2)
        await rig.until(lambda: finished(rig), 300)
        assert rig.coordinators() == ["slow"]
        rig.start("quick")
        await rig.leases.take("quick", 15.0, "slow")
        await rig.until(lambda: rig.coordinators() == ["quick"])

        async def linger(append: Append) -> None:
            if any(isinstance(event, AllocPlaced) for event in append.events):
                await elapse(6)

        rig.log.before = linger
        await rig.submit("api", count=2)
        await rig.until(lambda: rig.live("api"))
        await rig.leases.take("slow", 15.0, "quick")  # who by now has read of the job, and not of its placements
        await rig.until(lambda: finished(rig, "api"), 300)
        placed = [event.id for event in await rig.told() if isinstance(event, AllocPlaced)]
        assert len(placed) == len(set(placed)) == 4
        assert sum(isinstance(event, JobDeployed) for event in await rig.told()) == 2

    run(story)


def test_an_append_that_the_log_refuses_for_ever_costs_one_job() -> None:
    async def story(rig: Rig) -> None:
        await deployed(rig)
        tries: list[Append] = []

        async def refuse(append: Append) -> None:
            if any(isinstance(event, AllocPlaced) and event.job == "poison" for event in append.events):
                tries.append(append)
                raise Rejected("never")

        rig.log.before = refuse
        await rig.submit("poison")
        await rig.submit("api")
        await rig.until(lambda: finished(rig, "api"))
        await elapse(60)
        assert len(tries) == 1
        await rig.submit("poison", "v2")
        await elapse(1)
        assert len(tries) == 2

    run(story)


def test_members_come_and_go() -> None:
    async def story(rig: Rig) -> None:
        rig.start("r1")
        api = Member("api-1", "api", "10.0.0.1:8080", "1")
        await rig.members.renew(Present(api))
        await rig.until(lambda: set(rig.state.members) == {"r1", "api-1"})
        assert rig.state.members["api-1"] == api
        assert 10 < await rig.until(lambda: set(rig.state.members) == {"r1"}) < 21

    run(story)


def test_who_meets_an_unknown_event_decides_nothing() -> None:
    async def story(rig: Rig) -> None:
        await deployed(rig)
        await rig.append(Opaque("job.of_tomorrow", 1, b"{}"))
        await rig.until(lambda: not rig.coordinators())
        await rig.submit("api")
        await elapse(30)
        assert not rig.live("api")

    run(story)


def test_a_removed_node_is_forgotten() -> None:
    async def story(rig: Rig) -> None:
        await deployed(rig)
        node = rig.live()[0].node
        rig.silent.add(node)
        await rig.do(nodes.remove_node(rig.state.nodes[node]))
        await rig.until(lambda: len(rig.live()) == 2)
        await elapse(3)
        assert node not in await rig.beats.read()

    run(story)


def test_a_lease_that_goes_round_places_nothing_twice() -> None:
    """Whoever was told to decide finds what the one before had decided."""

    async def story(rig: Rig) -> None:
        await deployed(rig, "r1", "r2", "r3")
        for number in range(6):
            [first] = rig.coordinators()
            await rig.submit(f"job{number}")
            await rig.leases.take(sorted(rig.reconcilers.keys() - {first})[number % 2], 15.0, first)
            await rig.until(lambda number=number: finished(rig, f"job{number}"))  # type: ignore[misc] # bound now
            await rig.until(lambda: len(rig.coordinators()) == 1)
            assert rig.coordinators() != [first]
        assert len(rig.state.allocs) == 2 + 6

    run(story)
