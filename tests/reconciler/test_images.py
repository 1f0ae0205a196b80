"""What a tag stands for, from submit to node: what is a change, what is pinned, and a late pin restarts nothing."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from heroctl.domain import assign
from heroctl.domain import spec as specs
from heroctl.domain.assignment import Assigned, Report
from heroctl.domain.events import AllocPlaced, ImagePinned
from heroctl.domain.intents import jobs
from heroctl.domain.intents.change import NOTHING
from heroctl.domain.records import Alloc, Job
from heroctl.domain.spec import decode
from reconciler.planner.images import pins
from tests.domain.worlds import spec
from tests.reconciler.cluster import Cluster

ONE, TWO, THREE = (f"sha256:{number * 64}" for number in "123")
QUICK: Final = {"min_healthy_time": "1s"}


class Shop(Cluster):
    """A cluster whose nodes pull `shop:1` from a registry: `behind` is what the tag stands for there just now."""

    def __init__(self, nodes: int = 2) -> None:
        super().__init__()
        self.behind = ONE
        for number in range(nodes):
            self.join(f"n{number}", drivers=("docker",))

    def post(self, *, known: str = "", **fields: Any) -> Job:  # noqa: ANN401 - fields of a task
        """Submit it; `known`: what the registry said at that moment."""
        change = jobs.submit_job(self.state, shop(**fields), "tester", None, {"main": known} if known else {})
        self.do(change)
        return self.job

    @property
    def job(self) -> Job:
        found = self.state.job("default", "web")
        assert found is not None
        return found

    @property
    def pinned(self) -> list[str]:
        """What each version is pinned to, oldest first."""
        return [version.tasks[0].image for version in self.job.versions]

    def given(self, alloc: Alloc) -> Assigned:
        """Give what an agent is told of an allocation."""
        return assign.assigned(self.state, self.state.nodes[alloc.node], self.state.allocs[alloc.id])

    def _act(self, alloc: Alloc) -> Report | None:
        report = super()._act(alloc)
        if report is None or report.phase != "running":
            return report
        tag = (self.given(alloc).spec.image or "").endswith(":1")
        return replace(report, image=self.behind) if tag else report

    def _args(self, alloc: Alloc) -> str:
        return self.given(alloc).spec.image or ""  # containers behave as their image does


def shop(**fields: Any) -> specs.Job:  # noqa: ANN401 - fields of a task
    made = spec(driver="docker", image="shop:1", command=[], update=QUICK, **fields)
    assert isinstance(made, specs.Job)
    return made


def placed(there: Cluster) -> int:
    return sum(isinstance(record.event, AllocPlaced) for record in there.records)


# ── submit ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_tag_with_another_image_behind_it_is_a_new_version() -> None:
    there = Shop()
    there.post(known=ONE)
    there.settle()
    there.post(known=TWO)
    there.settle()
    assert there.pinned == [ONE, TWO]
    first, second = (version.tasks[0].content for version in there.job.versions)
    assert first != second
    assert [there.given(alloc).spec.image for alloc in there.live("web")] == [f"shop@{TWO}"]


@pytest.mark.parametrize("known", ["", ONE])
def test_the_same_tag_with_the_same_image_or_one_that_nobody_could_ask_for_is_no_event(known: str) -> None:
    there = Shop()
    there.post(known=ONE)
    images = {"main": known} if known else {}
    assert jobs.submit_job(there.state, shop(), "me", None, images) == NOTHING


def test_what_a_first_node_has_told_counts_as_what_a_registry_has_told() -> None:
    there = Shop()
    there.post()
    there.settle()
    assert there.pinned == [ONE]
    assert jobs.submit_job(there.state, shop(), "me", None, {"main": ONE}) == NOTHING
    there.post(known=TWO)
    assert there.pinned == [ONE, TWO]


def test_before_anybody_has_told_what_is_asked_for_counts() -> None:
    """Nobody knows what runs, and what was asked for is known: it would be lost to pass it over."""
    there = Shop()
    there.post()
    there.post(known=ONE)
    assert there.pinned == ["", ONE]


def test_more_replicas_while_the_registry_is_away_are_of_the_same_image() -> None:
    there = Shop()
    there.post(known=ONE)
    there.settle()
    before, there.behind = placed(there), TWO
    there.post(count=3)
    there.settle()
    assert there.pinned == [ONE, ONE]
    assert placed(there) == before + 2
    assert {there.given(alloc).spec.image for alloc in there.live("web")} == {f"shop@{ONE}"}


def test_a_rollback_is_exact() -> None:
    there = Shop()
    for image in (ONE, TWO):
        there.post(known=image)
        there.settle()
    there.do(jobs.rollback_job(there.state, there.job, None, "me"))
    there.settle()
    assert there.pinned == [ONE, TWO, ONE]
    assert {there.given(alloc).spec.image for alloc in there.live("web")} == {f"shop@{ONE}"}


def test_the_way_back_from_an_image_that_fails_is_exact() -> None:
    there = Shop()
    there.post(known=ONE)
    there.settle()
    there.behaviour[f"shop@{TWO}"] = "fails"
    there.post(known=TWO)
    there.settle()
    assert there.pinned == [ONE, TWO, ONE]
    assert there.job.current.kind == "revert"
    assert {there.given(alloc).spec.image for alloc in there.live("web")} == {f"shop@{ONE}"}


def test_an_image_that_comes_back_is_what_it_was() -> None:
    there = Shop()
    for image in (ONE, TWO, ONE):
        there.post(known=image)
        there.settle()
    contents = [version.tasks[0].content for version in there.job.versions]
    assert contents[0] == contents[2] != contents[1]


def test_a_spec_that_names_a_digest_is_left_as_it_is() -> None:
    there = Shop()
    there.do(jobs.submit_job(there.state, spec(driver="docker", image=f"shop@{TWO}", command=[]), "me"))
    there.settle()
    assert there.pinned == [""]
    assert [there.given(alloc).spec.image for alloc in there.live("web")] == [f"shop@{TWO}"]


@given(st.lists(st.tuples(st.sampled_from(["", ONE, TWO, THREE]), st.integers(1, 2)), min_size=1, max_size=6))
@settings(max_examples=60)
def test_whatever_is_posted_twice_changes_once(posts: list[tuple[str, int]]) -> None:
    there = Shop()
    for known, count in posts:
        there.post(known=known, count=count)
        again = {"main": known} if known else {}
        assert jobs.submit_job(there.state, shop(count=count), "me", None, again) == NOTHING
    for known, _ in posts[-1:]:
        assert known in ("", there.pinned[-1])
    by_content = {(version.tasks[0].content, version.tasks[0].image) for version in there.job.versions}
    assert len({content for content, _ in by_content}) == len(by_content), "equal content is the same image"


# ── pins that come later ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_replica_tells_and_nothing_restarts() -> None:
    there = Shop()
    there.post(count=4)
    there.decide()
    first = there.live("web")
    before = {alloc.id: there.given(alloc).digest for alloc in first}
    assert {there.given(alloc).spec.image for alloc in first} == {"shop:1"}
    there.settle()
    assert there.pinned == [ONE]
    assert {alloc.id: there.given(alloc).digest for alloc in there.live("web")} == before
    assert {there.given(alloc).spec.image for alloc in first} == {f"shop@{ONE}"}
    assert placed(there) == 4
    assert sum(isinstance(record.event, ImagePinned) for record in there.records) == 1


def test_agents_hear_of_a_pin_for_what_they_start_next() -> None:
    there = Shop(nodes=1)
    there.post(count=2)
    there.decide()
    [node] = there.state.nodes.values()
    heard = assign.assignment_index(there.state, node.id)
    there.step()
    there.decide()
    changed = assign.changed(there.state, node, heard)
    assert [(one.spec.image, one.wanted) for one in changed] == [(f"shop@{ONE}", "run")] * 2


def test_agents_hear_of_nothing_that_a_pin_does_not_concern() -> None:
    there = Shop(nodes=1)
    there.post(count=2, known=ONE)
    there.settle()
    there.post(count=2, args=["new"])
    there.decide()
    [node] = there.state.nodes.values()
    heard = assign.assignment_index(there.state, node.id)
    there.add(ImagePinned(there.job.uid, "default", "web", 2, "main", TWO))
    assert {one.version for one in assign.changed(there.state, node, heard)} == {2}
    there.do(jobs.stop_job(there.state, "default", "web"))
    there.decide()
    heard = assign.assignment_index(there.state, node.id)
    there.add(ImagePinned(there.job.uid, "default", "web", 2, "main", TWO))
    assert assign.changed(there.state, node, heard) == [], "what is to stop starts no more"


def test_what_comes_after_the_pin_is_of_the_pinned_image() -> None:
    there = Shop()
    there.post()
    there.settle()
    there.behind = TWO
    [alloc] = there.live("web")
    there.fail(alloc)
    there.wait(60_000)
    there.settle()
    [other] = there.live("web")
    assert other.id != alloc.id
    assert there.given(other).spec.image == f"shop@{ONE}"
    assert there.pinned == [ONE]


def test_every_version_of_the_same_content_is_pinned() -> None:
    """One that was made before the pin came, for another count, runs the same containers."""
    there = Shop()
    there.post()
    there.decide()
    there.post(count=2)
    there.settle()
    assert there.pinned == [ONE, ONE]


def test_of_several_that_tell_different_things_the_oldest_is_right() -> None:
    there = Shop()
    there.post(count=2)
    there.decide()
    first, second = sorted(there.live("web"), key=lambda alloc: alloc.n)
    told = [replace(second, image=TWO), replace(first, image=ONE)]
    assert [pin.image for pin in pins(there.job, told)] == [ONE]
    assert pins(there.job, [replace(first, content="another", image=TWO)]) == []
    there.add(*pins(there.job, told))
    assert pins(there.job, told) == []


def test_a_pin_of_what_is_gone_is_passed_over() -> None:
    there = Shop()
    job = there.post()
    for pin in (
        ImagePinned(job.uid, "default", "web", 7, "main", ONE),
        ImagePinned(job.uid, "default", "web", 1, "other", ONE),
        ImagePinned(99, "default", "gone", 1, "main", ONE),
    ):
        there.add(pin)
    assert there.pinned == [""]


def test_a_spec_keeps_the_tag_that_was_written() -> None:
    there = Shop()
    there.post(known=ONE)
    assert decode(there.job.current.spec).tasks[0].image == "shop:1"
