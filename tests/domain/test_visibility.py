"""Who may know of which event: each tag has its right, written by hand; a new one fails here until it has a line."""

from __future__ import annotations

from functools import cache

import pytest

from eventstore import codec
from heroctl.domain.assignment import Report
from heroctl.domain.events import EVENTS, AllocReported, Opaque, Record
from heroctl.domain.evolve import Touch, apply
from heroctl.domain.policy import BUILT_IN, Rule, grants
from heroctl.domain.state import State
from heroctl.domain.visibility import Need, Subject, subject, told
from tests.histories.made import story

OF_JOBS = "event:read default *"  # in the event's namespace, for its job
RIGHTS = {
    "alert.deleted": "alert:read default",
    "alert.fired": "alert:read default",
    "alert.resolved": "alert:read default",
    "alert.set": "alert:read default",
    "alloc.failed": OF_JOBS,
    "alloc.given_up": OF_JOBS,
    "alloc.misplaced": OF_JOBS,
    "alloc.placed": OF_JOBS,
    "alloc.reported": OF_JOBS,
    "alloc.restart_requested": OF_JOBS,
    "alloc.signal_requested": OF_JOBS,
    "alloc.exec_requested": OF_JOBS,
    "alloc.exec_ended": OF_JOBS,
    "alloc.stop_requested": OF_JOBS,
    "alloc.stopping": OF_JOBS,
    "cluster.brake_off": "cluster:read",
    "cluster.brake_on": "cluster:read",
    "cluster.brake_requested": "cluster:read",
    "cluster.created": "cluster:read",
    "cluster.incarnation_drawn": "cluster:read",
    "cluster.level_raised": "cluster:read",
    "cluster.settings_set": "cluster:read",
    "coordinator.elected": "cluster:read",
    "coordinator.transferred": "cluster:read",
    "deployment.fail_requested": OF_JOBS,
    "deployment.finished": OF_JOBS,
    "deployment.paused": OF_JOBS,
    "deployment.promoted": OF_JOBS,
    "deployment.resumed": OF_JOBS,
    "deployment.stepped": OF_JOBS,
    "image.pinned": OF_JOBS,
    "job.blocked": OF_JOBS,
    "job.deleted": OF_JOBS,
    "job.deployed": OF_JOBS,
    "job.dispatched": OF_JOBS,
    "job.failed": OF_JOBS,
    "job.launch_finished": OF_JOBS,
    "job.launch_skipped": OF_JOBS,
    "job.launched": OF_JOBS,
    "job.plan_failed": OF_JOBS,
    "job.rebalance_begun": OF_JOBS,
    "job.rebalance_requested": OF_JOBS,
    "job.rebalanced": OF_JOBS,
    "job.repinned": OF_JOBS,
    "job.restarted": OF_JOBS,
    "job.reverted": OF_JOBS,
    "job.stopped": OF_JOBS,
    "job.submitted": OF_JOBS,
    "join_token.created": "node:join",
    "member.joined": "cluster:read",
    "member.left": "cluster:read",
    "namespace.created": "namespace:read *",
    "namespace.deleted": "namespace:read *",
    "namespace.updated": "namespace:read *",
    "node.containers_released": "node:read *",
    "node.down": "node:read *",
    "node.drain_cancelled": "node:read *",
    "node.drain_finished": "node:read *",
    "node.drain_started": "node:read *",
    "node.eligibility_set": "node:read *",
    "node.registered": "node:read *",
    "node.removed": "node:read *",
    "node.session_opened": "node:read *",
    "node.unknown_containers": "node:read *",
    "node.up": "node:read *",
    "policy.deleted": "acl:read",
    "policy.set": "acl:read",
    "role.deleted": "acl:read",
    "role.set": "acl:read",
    "secret.deleted": "secret:list default",
    "secret.read": "audit:read",
    "secret.rekeyed": "audit:read",
    "secret.written": "secret:list default",
    "session.ended": "audit:read",
    "session.opened": "audit:read",
    "signing_key.rotated": "audit:read",
    "token.created": "acl:read",
    "token.deleted": "acl:read",
    "user.created": "acl:read",
    "user.deleted": "acl:read",
    "user.password_changed": "acl:read",
    "user.updated": "acl:read",
    "webhook.created": "webhook:read default",
    "webhook.deleted": "webhook:read",  # of all namespaces, as in the story
    "webhook.disabled": "webhook:read",
    "webhook.pinged": "webhook:read default",
    "webhook.redelivered": "webhook:read default",
    "webhook.rotated": "webhook:read default",
    "webhook.updated": "webhook:read default",
}


@cache
def folded() -> dict[str, tuple[Record, Subject]]:
    """Tell the story that has every event, and judge the first of each tag in the state that follows it."""
    state, found = State(), dict[str, tuple[Record, Subject]]()
    for record in codec.records(story()):
        touch = Touch()
        apply(state, record, touch)
        touch.settle(state)
        tag = record.event.TAG
        found.setdefault(tag, (record, subject(tag, record.event, state)))
    return found


def test_every_tag_has_its_line() -> None:
    assert sorted(RIGHTS) == sorted(EVENTS)


@pytest.mark.parametrize("tag", sorted(RIGHTS))
def test_what_an_event_asks_of_its_reader(tag: str) -> None:
    need = folded()[tag][1].need
    assert need is not None
    right, *places = RIGHTS[tag].split()
    assert need.right == right
    found = [need.place, need.job][: len(places)]
    assert all(wanted == each or (wanted == "*" and each) for wanted, each in zip(places, found, strict=True))
    assert [need.place, need.job][len(places) :] == [None] * (2 - len(places))


def test_a_viewer_of_one_namespace_sees_what_its_jobs_do_and_nothing_of_people_and_secrets() -> None:
    viewer = (grants(frozenset(BUILT_IN["viewer"]), ("default",)),)
    seen = {tag for tag, (_, about) in folded().items() if about.need is not None and about.need.met(viewer)}
    assert {"job.submitted", "alloc.failed", "node.down", "cluster.brake_on"} <= seen
    assert not {tag for tag in seen if tag.split(".")[0] in ("secret", "user", "token", "session", "webhook", "policy")}
    other = (grants(frozenset(BUILT_IN["viewer"]), ("lab",)),)
    assert not {tag for tag in seen if RIGHTS[tag] == OF_JOBS and folded()[tag][1].need.met(other)}  # type: ignore[union-attr] # it has one


def test_rights_for_one_job_show_no_other() -> None:
    rules = frozenset({Rule("event", ("read",), namespace="*")})
    held = (grants(rules, ("*",), ("web",)),)
    shown = {about.need.job for _, about in folded().values() if about.need is not None and about.need.met(held)}
    assert shown == {"web"}


def test_whoever_holds_no_grants_is_told_nothing_and_an_unknown_event_is_told_to_nobody() -> None:
    assert not Need("event:read").met(())
    assert subject("job.frobbed", Opaque("job.frobbed", 1, b""), State()).namespace == ""
    assert subject("strange.thing", Opaque("strange.thing", 1, b""), State()).need is None


def test_what_is_not_known_any_more_asks_for_everything_of_its_kind() -> None:
    gone = AllocReported("n1", Report("a-gone"))
    need = subject("alloc.reported", gone, State()).need
    assert need == Need("event:read")
    assert need.met((grants(frozenset(BUILT_IN["admin"])),))
    assert not need.met((grants(frozenset(BUILT_IN["viewer"]), ("default",)),))


def test_topics_name_what_an_event_is_about() -> None:
    record, about = folded()["alloc.reported"]
    assert isinstance(record.event, AllocReported)
    assert about.namespace == "default"
    assert set(about.topics) == {
        "namespace:default",
        "job:web",
        f"alloc:{record.event.report.alloc}",
        f"node:{record.event.node}",
        "node:n1",
    }


@pytest.mark.parametrize("tag", ["job.submitted", "secret.written", "user.created", "job.dispatched"])
def test_specs_payloads_and_rows_of_the_vault_are_not_told(tag: str) -> None:
    said = told(folded()[tag][0].event)
    assert said
    assert not {"spec", "tasks", "credential", "row", "payload"} & set(said)
