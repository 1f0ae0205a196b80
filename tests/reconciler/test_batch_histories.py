"""Batch jobs, whatever happens: each slot is filled once, and all comes to an end."""

from __future__ import annotations

from collections import Counter
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from heroctl.domain.events import (
    AllocReported,
    JobLaunchFinished,
)
from heroctl.domain.intents.jobs import stop_alloc
from heroctl.domain.lifecycle import TERMINAL
from heroctl.domain.state import State
from reconciler.planner.plan import Memo
from tests.reconciler.batches import NODES, Batches, up

WORDS: Final = ("end", "fail", "stop_alloc", "stop_alloc", "silence", "return", "submit", "restart", "wait", "forget")
STEPS: Final = st.lists(st.sampled_from([*["plan"] * 4, *["act"] * 3, *WORDS]), min_size=20, max_size=40)


def _step(cluster: Batches, word: str, number: int) -> None:
    live = sorted((alloc for alloc in cluster.live("import") if alloc.phase != "pending"), key=lambda one: one.n)
    speaking = [one for one in live if one.node not in cluster.silent]
    match word:
        case "plan":
            cluster.decide()
        case "act":
            cluster.step()
        case "end" | "fail" if speaking:
            cluster.end(speaking[number % len(speaking)], int(word == "fail"))
        case "stop_alloc" if live:
            cluster.do(stop_alloc(live[number % len(live)]))
        case "silence":
            cluster.hush(NODES[number % 3])
        case "return":
            cluster.come_back(NODES[number % 3])
        case "submit":
            cluster.batch(args=f"works-{number % 3}", count=1 + number % 3)
        case "restart":
            cluster.restart()
        case "forget":
            cluster.memo = Memo()
        case _:
            cluster.wait(7_000)


def _sound(state: State, uid: int) -> None:
    """No slot of a launch is filled twice, and none that has ended well is filled again."""
    filled: Counter[tuple[int, str, int]] = Counter()
    well: set[tuple[int, str, int]] = set()
    for alloc in state.allocs_of(uid):
        slot = alloc.launch, alloc.task, alloc.slot
        if alloc.phase == "complete" and alloc.wanted == "run" and not alloc.given_up:
            well.add(slot)
        elif not (alloc.terminal or alloc.given_up):
            filled[slot] += 1
    assert all(count == 1 for count in filled.values())
    assert not well & filled.keys()


@settings(max_examples=150)
@given(steps=STEPS, seeds=st.lists(st.integers(0, 99), min_size=40, max_size=40))
def test_each_slot_is_filled_once_whatever_happens_and_all_comes_to_an_end(steps: list[str], seeds: list[int]) -> None:
    cluster = up()
    uid = cluster.batch(args="works-0", count=2).uid
    for word, number in zip(steps, seeds, strict=False):
        _step(cluster, word, number)
        _sound(cluster.state, uid)
    for node in NODES:
        cluster.come_back(node)
    for each in range(3):
        cluster.behaviour[f"works-{each}"] = "ends"
    cluster.settle()
    assert cluster.status() in {"complete", "failed"}
    assert all(not launch.running for launch in cluster.launches())
    assert all(alloc.terminal for alloc in cluster.allocs("import"))
    ends = Counter(event.launch for event in cluster.told(JobLaunchFinished))
    assert all(count == 1 for count in ends.values())
    reports = (event.report for event in cluster.told(AllocReported))
    last = Counter(report.alloc for report in reports if report.phase in TERMINAL)
    assert all(count == 1 for count in last.values())
