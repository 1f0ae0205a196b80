"""An agent as the control plane and the runtime see it."""

from __future__ import annotations

import httpx2
import pytest
from msgspec.structs import replace

from agents.fake_runtime import Script
from agents.sync import Dismissed
from heroctl.domain.assignment import Signalled, SignalWish
from tests.agents.control import refusal
from tests.agents.rig import WEB, Rig, alloc, stopped


async def started(node: Rig, *names: str) -> None:
    """Have these allocations run."""
    node.control.want(*(alloc(name) for name in names))
    node.start()
    await node.until(lambda: all(node.control.is_phase(name, "running")() for name in names), what="running")


# ── life ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_wanted_runs_and_is_reported(node: Rig) -> None:
    await started(node, "a", "b")
    assert node.states() == {"a": "running", "b": "running"}
    told = node.control.seen["a"]
    assert (told.attempt, told.health, told.address, told.failed_attempt) == (1, "healthy", "10.0.0.1", 0)
    assert 20_000 <= told.ports["http"] <= 20_099
    assert told.ports != node.control.seen["b"].ports


async def test_a_stop_is_carried_out_and_reported(node: Rig) -> None:
    await started(node, "a", "b")
    node.control.want(stopped(alloc("a")))
    await node.until(node.control.is_phase("a", "complete"), what="complete")
    await node.until(lambda: node.states() == {"b": "running"})


async def test_a_crash_is_reported_and_begun_again(node: Rig) -> None:
    await started(node, "a")
    node.runtime.end(next(iter(node.ids())), 3)
    await node.until(node.control.is_phase("a", "ended"), what="ended")
    told = node.control.seen["a"]
    assert (told.exit_code, told.failed_attempt, told.reason) == (3, 1, "exited")
    await node.until(lambda: node.control.phase("a") == (2, "running"), what="the second attempt")
    assert node.control.seen["a"].restarts == 1
    assert len(node.ids()) == 1


async def test_a_restart_is_carried_out_once_also_when_it_is_named_again(node: Rig) -> None:
    await started(node, "a", "b")
    before = node.ids()
    for _ in range(2):
        node.control.want(replace(alloc("a"), restart=1))
        await node.until(lambda: node.control.phase("a") == (2, "running"), what="the second attempt")
    await node.kill()
    node.start()
    node.control.want(replace(alloc("a"), restart=1, seen_attempt=2))
    await node.until(lambda: node.states() == {"a": "running", "b": "running"}, what="both")
    assert len(node.ids() - before) == 1
    told = node.control.seen["a"]
    assert (told.attempt, told.failed_attempt, told.restarts) == (2, 0, 0)


async def test_a_signal_is_sent_once_and_told_of(node: Rig) -> None:
    await started(node, "a")
    wished = replace(alloc("a"), signals=(SignalWish(1, 1, "SIGHUP"),))
    node.control.want(wished)
    await node.until(lambda: node.control.seen["a"].signalled == [Signalled(1)], what="the answer")
    await node.kill()
    node.start()
    node.control.want(replace(wished, seen_attempt=1, signals=(*wished.signals, SignalWish(2, 1, "SIGHUP"))))
    await node.until(lambda: len(node.control.seen["a"].signalled) == 2, what="the second answer")
    assert len([call for call in node.runtime.calls if call.endswith("SIGHUP")]) == 2


async def test_a_pull_that_is_no_longer_wanted_is_left(node: Rig) -> None:
    node.runtime.scripts["shop:1"] = Script(here=False, pull_takes=1000)
    node.control.want(alloc("a"))
    node.start()
    await node.until(lambda: "pull shop:1" in node.runtime.calls)
    node.control.want(stopped(alloc("a")))
    await node.until(node.control.is_phase("a", "complete"), what="complete")
    assert node.states() == {}


async def test_what_a_tag_stood_for_is_reported_and_a_pin_restarts_nothing(node: Rig) -> None:
    digest = "sha256:" + "1" * 64
    node.runtime.scripts["shop:1"] = Script(here=False, digest=digest)
    await started(node, "a")
    await node.until(lambda: node.control.seen["a"].image == digest, what="the digest")
    before, calls = node.ids(), len(node.runtime.calls)
    pinned = alloc("a", replace(WEB, image=f"shop@{digest}"))
    node.control.want(pinned)
    await node.pass_time(30)
    assert (node.ids(), node.states()) == (before, {"a": "running"})
    assert not [call for call in list(node.runtime.calls)[calls:] if call.startswith(("pull", "start", "signal"))]
    node.runtime.end(next(iter(before)), 1)
    await node.until(lambda: node.control.phase("a") == (2, "running"), what="the second attempt")
    assert [node.runtime._images[one] for one in node.ids()] == [f"shop@{digest}"]
    assert node.control.seen["a"].image == "", "what is named by a digest has no tag"


async def test_an_image_that_is_nowhere_fails_with_that_reason(node: Rig) -> None:
    node.runtime.scripts["shop:1"] = Script(missing=True)
    node.control.want(alloc("a"))
    node.start()
    await node.until(node.control.is_phase("a", "failed"), what="failed")
    assert node.control.seen["a"].reason == "image_missing"


async def test_a_driver_that_this_node_does_not_offer_fails_with_that_reason(node: Rig) -> None:
    node.control.want(alloc("a", replace(WEB, driver="process", image=None, command=("x",))))
    node.start()
    await node.until(node.control.is_phase("a", "failed"), what="failed")
    assert node.control.seen["a"].reason == "driver_missing"


async def test_one_that_hangs_holds_up_no_other(node: Rig) -> None:
    node.runtime.hanging = {"a"}
    node.control.want(alloc("a"), alloc("b"))
    node.start()
    await node.until(node.control.is_phase("b", "running"), what="running")
    assert node.control.phase("a") == (1, "starting")


async def test_ports_that_run_out_fail_the_allocation(node: Rig) -> None:
    node.runtime.taken = set(range(20_000, 20_100))
    node.control.want(alloc("a"))
    node.start()
    await node.until(node.control.is_phase("a", "failed"), what="failed")
    assert node.control.seen["a"].reason == "no_port_left"


# ── the agent ends and comes back ────────────────────────────────────────────────────────────────────────────────────


async def test_after_a_kill_everything_is_adopted_and_nothing_restarted(node: Rig) -> None:
    await started(node, "a", "b")
    before = node.ids()
    await node.kill()
    node.start()
    await node.until(lambda: len(node.control.sessions) == 2)
    await node.pass_time(5)
    assert node.ids() == before
    inventory = node.control.sessions[-1].inventory
    assert {(one.alloc, one.phase, one.health) for one in inventory.reports} == {
        ("a", "running", "healthy"),
        ("b", "running", "healthy"),
    }
    assert inventory.unknown == []


async def test_an_agent_restarts_by_what_it_held_while_the_control_plane_is_away(node: Rig) -> None:
    await started(node, "a")
    await node.kill()
    node.control.fault = lambda _: httpx2.Response(503)
    node.runtime.end(next(iter(node.ids())), 1)
    node.start()
    await node.until(lambda: node.states() == {"a": "running"} and len(node.runtime.calls) > 5)
    node.control.fault = lambda _: None
    await node.until(lambda: node.control.phase("a") == (2, "running"), what="the second attempt")


async def test_lost_files_lead_to_adoption_by_labels(node: Rig) -> None:
    await started(node, "a")
    before = node.ids()
    await node.kill()
    for file in (node.folder / "allocs").iterdir():
        file.write_bytes(b"\0broken")
    (node.folder / "assignment.json").write_bytes(b"{")
    node.control.want(alloc("a", seen=1))
    node.start()
    await node.until(lambda: len(node.control.sessions) >= 2)
    await node.pass_time(400)
    assert node.ids() == before
    assert node.control.phase("a") == (1, "running")


async def test_asked_to_end_it_leaves_the_containers(node: Rig) -> None:
    await started(node, "a")
    await node.stop()
    assert node.states() == {"a": "running"}


async def test_in_dev_mode_it_takes_them_along_and_begins_them_anew(node: Rig) -> None:
    node.halt = True
    await started(node, "a", "b")
    await node.stop()
    assert node.states() == {}
    node.halt = False
    node.start()
    await node.until(lambda: node.control.phase("a") == node.control.phase("b") == (2, "running"), what="running")
    assert node.control.seen["a"].restarts == 0


# ── what the control plane says ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "answer",
    [
        refusal(401, "token_invalid"),
        refusal(403, "forbidden"),
        refusal(404, "node_not_found"),
        refusal(410, "another_code"),
        refusal(500, "internal"),
        refusal(503, "starting"),
        httpx2.Response(410, content=b"gone"),
        httpx2.Response(200, content=b"<html>captive</html>"),
        httpx2.Response(302, headers={"Location": "http://elsewhere"}),
    ],
    ids=str,
)
async def test_no_other_no_ever_stops_anything(node: Rig, answer: httpx2.Response) -> None:
    await started(node, "a")
    asked = len(node.control.headers)
    node.control.fault = lambda _: answer
    await node.until(lambda: len(node.control.headers) > asked + 20, step=1, most=1000)
    await node.clock.advance(400)
    assert node.states() == {"a": "running"}
    node.control.fault = lambda _: None
    node.control.want(stopped(alloc("a")))
    await node.until(node.control.is_phase("a", "complete"), what="complete")


async def test_a_removed_node_stops_everything_and_forgets_itself(node: Rig) -> None:
    await started(node, "a", "b")
    node.control.fault = lambda _: refusal(410, "node_removed")
    assert node.running is not None
    await node.until(node.running.done, what="the end")
    with pytest.raises(Dismissed) as dismissed:
        await node.running
    node.running = None
    assert dismissed.value.removed
    assert node.states() == {}
    assert list((node.folder / "allocs").iterdir()) == []


@pytest.mark.parametrize("code", ["session_replaced", "node_in_use"])
async def test_an_agent_that_is_not_the_one_ends_and_leaves_the_containers(node: Rig, code: str) -> None:
    await started(node, "a")
    node.control.fault = lambda _: refusal(409, code)
    assert node.running is not None
    await node.until(node.running.done, what="the end")
    with pytest.raises(Dismissed) as dismissed:
        await node.running
    node.running = None
    assert (dismissed.value.code, dismissed.value.removed) == (code, False)
    assert node.states() == {"a": "running"}


async def test_what_a_complete_assignment_does_not_name_stops_after_the_grace(node: Rig) -> None:
    await started(node, "a", "b")
    node.control.complete_only = True
    node.control.drop("a")
    await node.pass_time(295)
    assert node.states() == {"a": "running", "b": "running"}
    await node.pass_time(10)
    await node.until(lambda: node.states() == {"b": "running"}, what="the end of what is not named")


async def test_a_container_with_our_labels_that_nobody_named_goes_after_the_grace(node: Rig) -> None:
    await started(node, "a")
    stray = replace(next(iter(node.runtime.containers.values())), id="stray", alloc="x", incarnation="")
    node.runtime.containers["stray"] = stray
    node.runtime._images["stray"] = "shop:1"
    await node.until(lambda: "stray" in node.control.sessions[-1].inventory.unknown, step=5, most=200)
    await node.pass_time(200)
    assert "stray" in node.ids()
    await node.pass_time(150)
    await node.until(lambda: node.states() == {"a": "running"}, what="the end of the stray")


async def test_another_incarnation_keeps_what_it_does_not_name_and_is_told_of_it(node: Rig) -> None:
    await started(node, "a", "b")
    node.control.restore("i2", 3, alloc("b", seen=1))
    await node.until(lambda: len(node.control.sessions) == 2, what="a new session")
    unknown = node.control.sessions[-1].inventory.unknown
    assert [node.runtime.containers[one].alloc for one in unknown] == ["a"]
    await node.pass_time(400)
    assert node.states() == {"a": "running", "b": "running"}
    await node.kill()
    node.start()
    await node.pass_time(400)
    assert node.states() == {"a": "running", "b": "running"}
    node.control.want(stopped(alloc("a")))
    await node.until(lambda: node.states() == {"b": "running"}, what="the stop by name")


async def test_while_the_runtime_is_away_nothing_is_concluded(node: Rig) -> None:
    await started(node, "a")
    node.runtime.away = True
    await node.pass_time(100)
    assert drivers(node) == [False]
    assert node.control.phase("a") == (1, "running")
    node.runtime.away = False
    await node.pass_time(100)
    assert drivers(node) == [True]
    assert (node.control.phase("a"), node.states()) == ((1, "running"), {"a": "running"})


def drivers(node: Rig) -> list[bool]:
    return [driver.healthy for driver in node.control.sessions[-1].drivers.values()]


async def test_an_agent_that_starts_while_the_runtime_is_away_waits_for_it(node: Rig) -> None:
    node.runtime.away = True
    node.control.want(alloc("a"))
    node.start()
    await node.pass_time(60)
    assert "a" not in node.control.seen
    node.runtime.away = False
    await node.until(node.control.is_phase("a", "running"), what="running")


async def test_what_is_over_and_heard_of_is_forgotten(node: Rig) -> None:
    await started(node, "a")
    node.control.want(stopped(alloc("a")))
    await node.until(node.control.is_phase("a", "complete"), what="complete")
    node.control.complete_only = True
    node.control.drop("a")
    assert node.agent is not None
    workers = node.agent.workers
    await node.until(lambda: not workers, what="oblivion")
    await node.until(lambda: list((node.folder / "allocs").iterdir()) == [], what="oblivion on disk")


async def test_a_report_after_the_end_is_repeated_and_never_taken_back(node: Rig) -> None:
    node.runtime.scripts["shop:1"] = Script(missing=True)
    node.control.want(alloc("a"))
    node.start()
    await node.until(node.control.is_phase("a", "failed"), what="failed")
    node.runtime.scripts["shop:1"] = Script()
    await node.kill()
    node.start()
    await node.pass_time(30)
    assert node.control.phase("a") == (1, "failed")
    assert node.states() == {}
