"""Handing coordination over, and what is refused while nobody coordinates."""

from __future__ import annotations

from typing import Final

import pytest

from api.routes import ROUTES
from api.row import Row
from eventstore.members import Present
from heroctl.domain.events import CoordinatorElected, CoordinatorTransferred
from heroctl.domain.records import Member
from tests.api.people import user
from tests.api.rig import Rig
from tests.api.specs import candidates, coordinated, join, open_session, place, spec, submit, trial
from tests.eventstore.samples import everything

PATH: Final = "/v1/raft/transfer-leadership"
FIRST, SECOND, THIRD = "reconciler-1", "reconciler-2", "reconciler-3"


async def begun(api: Rig, *names: str) -> None:
    """Let the first coordinate, and others live."""
    await coordinated(api)
    await candidates(api, FIRST, *names)


async def test_it_goes_to_another_that_lives_and_the_log_tells_who_asked(api: Rig) -> None:
    await begun(api, SECOND)
    head = await api.log.head()
    done = await api.post(PATH, headers={"X-Request-Id": "req_over"})
    assert (done.status, done.body) == (
        200,
        {"coordinator": SECOND, "previous": FIRST, "epoch": head.epoch + 1, "index": done.index},
    )
    records = await everything(api.log, head.index)
    assert [record.event for record in records] == [
        CoordinatorTransferred(FIRST, SECOND),
        CoordinatorElected(SECOND, head.epoch + 1),
    ]
    assert {(record.meta.actor, record.meta.request_id) for record in records} == {("user:admin", "req_over")}
    status = (await api.get("/v1/cluster/status")).body
    assert (status["coordinator"], status["epoch"]) == (SECOND, head.epoch + 1)
    peers = {peer["id"]: peer["coordinator"] for peer in (await api.get("/v1/cluster/peers")).body}
    assert (peers[FIRST], peers[SECOND]) == (False, True)
    [act] = (await api.get("/v1/audit?type=coordinator.*")).body
    assert (act["actor"], act["request_id"]) == ("user:admin", "req_over")


async def test_a_long_poll_on_status_and_on_peers_hears_of_it(api: Rig) -> None:
    await begun(api, SECOND)
    pages = ("/v1/cluster/status", "/v1/cluster/peers")
    waiting = [api.ask("GET", f"{path}?index={(await api.get(path)).index}&wait=1m") for path in pages]
    await api.waiting(2)
    done = await api.post(PATH)
    status, peers = [await each.reply() for each in waiting]
    assert (status.body["coordinator"], status.index) == (SECOND, done.index)
    assert [peer["id"] for peer in peers.body if peer["coordinator"]] == [SECOND]


@pytest.mark.parametrize("target", [THIRD, f"{THIRD}.example", "reconciler-third-beginning"])
async def test_a_target_is_named_by_id_address_or_beginning(api: Rig, target: str) -> None:
    third = "reconciler-third-beginning-and-end" if target.endswith("beginning") else THIRD
    await begun(api, SECOND, third)
    done = await api.post(PATH, {"target": target})
    assert (done.status, done.body["coordinator"]) == (200, third)


async def test_without_a_target_it_is_the_one_heard_of_last(api: Rig) -> None:
    await coordinated(api)
    await candidates(api, SECOND)
    api.clock.ticks += 1
    await candidates(api, THIRD)
    assert (await api.post(PATH)).body["coordinator"] == THIRD


async def test_to_who_has_it_already_is_no_event(api: Rig) -> None:
    await begun(api, SECOND)
    head = await api.log.head()
    done = await api.post(PATH, {"target": FIRST})
    assert (done.status, done.body["coordinator"], done.body["previous"]) == (200, FIRST, FIRST)
    assert await api.log.head() == head


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        (None, 409, "no_successor"),
        ("api-test", 409, "no_successor"),
        ("gone", 409, "no_successor"),
        ("nobody", 404, "member_not_found"),
        ("", 404, "member_not_found"),
        ("rec", 404, "member_not_found"),
    ],
)
async def test_to_nobody_who_could_it_stays_where_it_is(api: Rig, target: str | None, status: int, code: str) -> None:
    await begun(api)
    await api.parts.pulse.renew()
    await api.members.renew(Present(Member("gone", "reconciler", "x", "1.2.3")))
    api.clock.ticks += 7  # heard of, but not lately
    await candidates(api, FIRST)
    await api.parts.pulse.renew()
    head = await api.log.head()
    refused = await api.post(PATH, None if target is None else {"target": target})
    assert (refused.status, refused.error) == (status, code)
    assert (await api.log.head(), (await api.leases.look("", 0)).lease.holder) == (head, FIRST)


async def test_a_word_that_names_several_is_refused(api: Rig) -> None:
    await begun(api, SECOND, THIRD)
    refused = await api.post(PATH, {"target": "reconciler-"})
    assert (refused.status, refused.error) == (409, "ambiguous_id")


async def test_one_of_an_older_release_than_the_log_is_not_given_it(api: Rig) -> None:
    await begun(api)
    await api.members.renew(Present(Member(SECOND, "reconciler", "x", "0.9"), level=0))
    for target in ({"target": SECOND}, {}):
        assert (await api.post(PATH, target)).error == "no_successor"


@pytest.mark.parametrize("body", [{"to": SECOND}, {"target": 7}, [], "target"])
async def test_what_it_does_not_take_is_refused(api: Rig, body: object) -> None:
    await begun(api, SECOND)
    assert (await api.post(PATH, body)).status == 400


async def test_only_admins_may(api: Rig) -> None:
    await begun(api, SECOND)
    for role in ("viewer", "deployer", "operator"):
        assert (await api.post(PATH, token=await user(api, role, role))).status == 403
    assert (await api.post(PATH, token=await user(api, "other", "admin"))).status == 200


# ── 503 exactly where a coordinator is needed at once ────────────────────────────────────────────────────────────────

NEEDS_ONE: Final = {
    "POST /v1/raft/transfer-leadership",
    "POST /v1/cluster/brake",
    "POST /v1/deployments/{id}/promote",
    "POST /v1/deployments/{id}/pause",
    "POST /v1/deployments/{id}/resume",
    "POST /v1/deployments/{id}/fail",
    "POST /v1/jobs/{name}/periodic/force",
    "POST /v1/jobs/{name}/rebalance",
}


def _asked(row: Row, ids: dict[str, str]) -> tuple[str, object]:
    """Name things that are there, and give a body that could be meant."""
    words = row.path.split("/")
    known = {"secrets": "db", "jobs": "nightly" if "periodic" in words else "web"}
    names = {
        "{name}": known.get(words[2], "x"),
        "{id}": ids.get(words[2], "nothing"),
        "{job}": "web",
        "{index}": "1",
        "{file}": "docs.css",
    }
    bodies: dict[str, object] = {
        "/v1/cluster/brake": {"on": True},
        "/v1/jobs": spec("other"),
        "/v1/secrets": {"name": "db", "value": "x"},
        "/v1/jobs/{name}/scale": {"count": 2},
        "/v1/nodes/{id}/eligibility": {"eligible": False},
        "/v1/cluster/settings": {"preemption": False},
    }
    return "/".join(names.get(word, word) for word in words), bodies.get(row.path)


async def test_without_a_coordinator_only_what_needs_one_at_once_is_refused(api: Rig) -> None:
    """And everything else is answered as ever: accepted, or refused for what it is."""
    _, token = await join(api)
    await open_session(api, token)
    await submit(api)
    await api.post("/v1/jobs", {**spec("nightly", {"ports": {}}), "type": "batch", "periodic": {"cron": "0 0 * * *"}})
    node = api.parts.view.state.node_names["node-1"]
    ids = {"deployments": await trial(api), "allocations": await place(api, node), "nodes": "node-1"}
    refused = {}
    for row in ROUTES:
        if row.path == "/v1/auth/logout":
            continue
        path, body = _asked(row, ids)
        asked = row.path.startswith("/v1/agent/")
        reply = await api.do(row.method, path, body, token=token if asked else api.token)
        if reply.status == 503:
            refused[f"{row.method} {row.path}"] = reply.error
            assert int(reply.headers["retry-after"]) > 0
    assert {name for name, code in refused.items() if code == "no_coordinator"} == NEEDS_ONE
    assert set(refused.values()) <= {"no_coordinator", "logs_unavailable"}, "there is no Redis here"
