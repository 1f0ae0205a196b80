"""Idempotency keys: what is asked for twice is done once, and answered twice alike, whichever process is asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final
from uuid import UUID

import pytest

from api.access import ANYONE, Principal
from api.answer import Answer as HttpAnswer
from api.answer import answer
from api.call import Call
from api.idempotency import perform
from api.marks import Marks
from api.routes import ROUTES
from api.row import Row
from api.write import Writer
from eventstore.appender import Answer, Appender
from eventstore.codec import Sealed, seal
from eventstore.log import Append, Appended, Conflicted, Fenced, KeyReused
from heroctl.domain.errors import Conflict
from heroctl.domain.events import NodeEligibilitySet
from heroctl.domain.intents.change import Change
from tests.api.asks import AGAIN, KEY, UNDER, Ask
from tests.api.people import user
from tests.api.rig import Reply, Rig, beside
from tests.api.specs import spec, submit
from tests.eventstore.samples import everything
from tests.waiting import eventually

DAY: Final = 24 * 3600.0

# What shows a secret once, and what changes nothing.
NOT_AGAIN: Final = {
    "/v1/acl/tokens",
    "/v1/cluster/join-tokens",
    "/v1/jobs/plan",
    "/v1/jobs/validate",
    "/v1/auth/logout",
    "/v1/acl/keys/rotate",
    "/v1/secrets/rekey",
    "/v1/webhooks",
    "/v1/webhooks/{id}/rotate",
}

# What is answered from what holds now, where nothing was changed.
TOLD_BY_STATE: Final = {
    "/v1/jobs/web/stop",
    "/v1/jobs/web/rebalance",
    "/v1/cluster/brake",
    "/v1/raft/transfer-leadership",
}

every_ask = pytest.mark.parametrize(
    "begin", [begin for begins in AGAIN.values() for begin in begins], ids=lambda begin: begin.__name__[1:]
)


def test_every_post_by_users_is_answered_again_or_shows_what_is_shown_once() -> None:
    """A new one takes its stand here: give the row an `again` and a line in AGAIN, or write it into NOT_AGAIN."""
    assert {row.path for row in ROUTES if row.keyed and row.again} == AGAIN.keys()
    assert {row.path for row in ROUTES if row.keyed and not row.again} == NOT_AGAIN
    taking_none = {row.path for row in ROUTES if row.method == "POST" and not row.keyed}
    agents = {"/v1/nodes/join", "/v1/agent/session", "/v1/agent/sync", "/v1/agent/secrets", "/v1/agent/services"}
    agents |= {"/v1/agent/samples", "/v1/agent/logs"}
    assert taking_none == {"/v1/auth/login", "/v1/auth/refresh"} | agents


def _is_again(again: Reply, first: Reply) -> None:
    assert (again.status, again.body, again.index) == (first.status, first.body, first.index)
    assert again.headers["idempotency-replayed"] == "true"


@every_ask
async def test_asked_again_it_is_done_once_and_answered_alike(api: Rig, begin: Callable[[Rig], Awaitable[Ask]]) -> None:
    ask = await begin(api)
    first = await ask.of(api)
    assert first.status in (200, 201)
    assert "idempotency-replayed" not in first.headers
    head = await api.log.head()
    _is_again(await ask.of(api), first)
    async with beside(api) as other:
        _is_again(await ask.of(other), first)
    async with beside(api) as restarted:
        _is_again(await ask.of(restarted), first)
    assert await api.log.head() == head


@every_ask
async def test_asked_on_two_processes_at_once_it_is_done_once(api: Rig, begin: Callable[[Rig], Awaitable[Ask]]) -> None:
    """The second is asked while the first is under way; it waits, and gets the first one's answer."""
    ask = await begin(api)
    async with beside(api) as other:
        before = (await api.log.head()).index
        asked = [ask.of(process) for process in (api, other) * 3]
        replies = await asyncio.gather(*asked)
        assert len({(reply.status, reply.raw, reply.index) for reply in replies}) == 1
        assert [reply.headers.get("idempotency-replayed") for reply in replies].count(None) == 1
        assert len({record.last for record in await everything(api.log, before)}) <= 1


@every_ask
async def test_asked_once_more_when_all_is_gone(api: Rig, begin: Callable[[Rig], Awaitable[Ask]]) -> None:
    """Its events tell what it was, whatever became of the thing; without any, only what the request said is known."""
    ask = await begin(api)
    before = (await api.log.head()).index
    first = await ask.of(api)
    changed = first.index > before
    if ask.path.startswith(("/v1/allocations", "/v1/nodes")):
        assert (await api.do("DELETE", "/v1/nodes/node-1")).status == 200
    if ask.path == "/v1/acl/self/password":
        await user(api, "second", "admin", namespaces=["*"])
        assert (await api.do("PUT", "/v1/acl/users/admin", {"namespaces": ["default"]})).status == 200
    elif ask.path.startswith("/v1/secrets"):
        assert (await api.do("DELETE", "/v1/secrets/db")).status == 200
    elif ask.path.startswith("/v1/webhooks"):
        assert (await api.do("DELETE", "/".join(ask.path.split("/")[:4]))).status == 200
    elif ask.path.startswith(("/v1/acl", "/v1/namespaces")):
        assert (await api.do("DELETE", f"{ask.path}/new")).status == 200
    elif not ask.path.startswith(("/v1/nodes", "/v1/cluster", "/v1/raft")):
        job = ask.path.split("/")[3] if ask.path.startswith("/v1/jobs/") else "web"
        assert (await api.do("DELETE", f"/v1/jobs/{job}")).status == 200
    again = await ask.of(api)
    if changed and ask.path.startswith("/v1/nodes"):
        assert first.body["name"] == "node-1"
        first.raw = json.dumps({name: said for name, said in first.body.items() if name != "name"}).encode()
    if ask.path.endswith("/drain"):  # nothing is on a node that is gone, and nothing leaves it
        nothing: dict[str, object] = {"drain": None, "replicas": 0, "moves": 0, "stays": 0, "jobs": [], "warnings": []}
        first.raw = json.dumps(first.body | nothing).encode()
    if changed or ask.path in TOLD_BY_STATE:
        _is_again(again, first)
    else:
        assert (again.status, again.error) == (409, "already_done")


async def test_later_versions_do_not_change_what_was_answered(api: Rig) -> None:
    first = await Ask("/v1/jobs", spec()).of(api)
    same = await Ask("/v1/jobs", spec()).of(api, "same")
    second = await Ask("/v1/jobs", spec(meta={"a": "b"})).of(api, "second")
    await submit(api, meta={"a": "c"})
    assert (first.body["version"], same.body["version"], second.body["version"]) == (1, 1, 2)
    assert same.body["deployment_id"] == first.body["deployment_id"] != second.body["deployment_id"]
    _is_again(await Ask("/v1/jobs", spec()).of(api), first)
    _is_again(await Ask("/v1/jobs", spec()).of(api, "same"), same)
    _is_again(await Ask("/v1/jobs", spec(meta={"a": "b"})).of(api, "second"), second)
    assert (await api.get("/v1/jobs/web")).body["version"] == 3


async def test_another_incarnation_does_not_change_what_was_answered(api: Rig) -> None:
    first = await Ask("/v1/jobs", spec()).of(api)
    await api.log.redraw((await api.log.head()).incarnation, "restored")
    _is_again(await Ask("/v1/jobs", spec()).of(api), first)


async def test_its_own_success_does_not_stand_in_its_way(api: Rig) -> None:
    """Decided anew, the guard would not hold any more."""
    ask = Ask("/v1/jobs?check_index=0", spec())
    first = await ask.of(api)
    assert first.status == 201
    _is_again(await ask.of(api), first)
    assert (await ask.of(api, "another")).error == "job_exists"


async def test_what_was_refused_may_be_tried_again(api: Rig) -> None:
    stop = Ask("/v1/jobs/web/stop")
    assert (await stop.of(api)).error == "job_not_found"
    assert (await Ask("/v1/jobs", {"job": "!"}).of(api)).error == "invalid_spec"
    made = await Ask("/v1/jobs", spec()).of(api)
    stopped = await stop.of(api)
    assert (made.status, stopped.status) == (201, 200)
    assert "idempotency-replayed" not in made.headers | stopped.headers


async def test_a_key_stands_for_one_request(api: Rig) -> None:
    """Another body, path or query is a mistake of the caller's, and changes nothing."""
    await submit(api, "api")
    await submit(api)
    assert (await Ask("/v1/jobs/web/stop").of(api)).status == 200
    assert (await Ask("/v1/jobs", spec()).of(api)).status == 200
    head = await api.log.head()
    for other in (
        Ask("/v1/jobs/api/stop"),
        Ask("/v1/jobs/web/stop", {}),
        Ask("/v1/jobs/none/stop"),
        Ask("/v1/jobs/web/stop?check_index=3"),
        Ask("/v1/jobs", spec(meta={"a": "b"})),
        Ask("/v1/jobs", b'{"job": "!"}'),
        Ask("/v1/jobs?namespace=default", spec()),
    ):
        refused = await other.of(api)
        assert (refused.status, refused.error) == (409, "idempotency_key_reused"), other
    assert await api.log.head() == head


async def test_another_callers_key_is_another_key(api: Rig) -> None:
    tokens = [await api.role("deployer"), await api.role("deployer"), api.token]
    replies = [await Ask("/v1/jobs", spec(f"web-{n}")).of(api, token=token) for n, token in enumerate(tokens)]
    assert [reply.status for reply in replies] == [201, 201, 201]
    viewer = await api.role("viewer")
    assert (await Ask("/v1/jobs", spec("web-2")).of(api, token=viewer)).status == 403


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/acl/tokens", {"name": "ci", "roles": ["viewer"]}), ("/v1/cluster/join-tokens", {"ttl": "2h"})],
)
async def test_what_is_shown_once_is_not_shown_again(api: Rig, path: str, body: dict[str, Any]) -> None:
    first = await Ask(path, body).of(api)
    assert first.status == 201
    head = await api.log.head()
    async with beside(api) as other:
        for process in (api, other):
            again = await Ask(path, body).of(process)
            assert (again.status, again.error) == (409, "already_done")
            assert f"index {first.index}" in again.body["message"]
    assert (await Ask(path, {**body, "ttl": "1h"}).of(api)).error == "idempotency_key_reused"
    assert await api.log.head() == head


@pytest.mark.parametrize("key", ["", "  ", "x" * 256, "a\tb", "a\x7fb", "a\x01"])
async def test_bad_keys_are_refused_before_anything_is_done(api: Rig, key: str) -> None:
    refused = await Ask("/v1/jobs", spec()).of(api, key)
    assert (refused.status, refused.error) == (400, "invalid_idempotency_key")
    assert (await api.get("/v1/jobs")).body == []


async def test_two_keys_are_no_key(api: Rig) -> None:
    refused = await api.post("/v1/jobs", spec(), headers={"Idempotency-Key": "a", "idempotency-key": "b"})
    assert (refused.status, refused.error) == (400, "invalid_idempotency_key")


@pytest.mark.parametrize("key", ["x", "x" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "a b", "kl\xfcg"])
async def test_good_keys(api: Rig, key: str) -> None:
    assert (await Ask("/v1/jobs", spec()).of(api, key)).status == 201
    assert (await Ask("/v1/jobs", spec()).of(api, key)).headers["idempotency-replayed"] == "true"


async def test_routes_that_take_no_key_pass_over_it(api: Rig) -> None:
    """Logins are never answered again; whoever deletes twice is told that there is nothing."""
    login = {"username": "admin", "password": "correct horse"}
    replies = [await api.post("/v1/auth/login", login, headers=UNDER, token="") for _ in range(2)]
    assert replies[0].body["token"] != replies[1].body["token"]
    await submit(api)
    assert (await api.do("DELETE", "/v1/jobs/web", headers=UNDER)).status == 200
    assert (await api.do("DELETE", "/v1/jobs/web", headers=UNDER)).error == "job_not_found"


async def test_a_key_counts_for_a_day(api: Rig) -> None:
    token = await api.role("admin")
    ask = Ask("/v1/jobs", spec())
    first = await ask.of(api, token=token)
    api.clock.now += DAY - 1
    _is_again(await ask.of(api, token=token), first)
    api.clock.now += 1
    later = await ask.of(api, token=token)
    assert (later.status, later.headers.get("idempotency-replayed")) == (200, None)


async def test_events_that_are_not_kept_cannot_be_told(api: Rig) -> None:
    first = await Ask("/v1/jobs", spec()).of(api)
    await submit(api, "other")
    api.log.compact(first.index)
    assert (await Ask("/v1/jobs", spec()).of(api)).error == "already_done"


@pytest.mark.parametrize(
    ("path", "body", "dear"),
    [
        ("/v1/secrets", {"name": "pin", "value": "1234"}, True),
        ("/v1/acl/users", {"name": "ann", "password": "a long pass phrase", "roles": []}, True),
        ("/v1/jobs", spec(), False),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_guessing_at_a_secret_that_was_sent_under_a_key_is_dear(
    api: Rig, path: str, body: dict[str, Any], *, dear: bool
) -> None:
    await api.post(path, body, headers=UNDER)
    [(_, (kept, _, _))] = api.log._keys.items()
    scope = ["user:admin", path, UNDER["Idempotency-Key"]]
    cheap = api.parts.marks.key(scope, [[], []], json.dumps(body).encode()).body
    assert (kept != cheap) == dear


async def test_nothing_of_a_key_or_a_body_can_be_told_from_what_is_kept(api: Rig) -> None:
    await Ask("/v1/jobs", spec()).of(api)
    [(name, (body, _, _))] = api.log._keys.items()
    assert len(name) == len(body) == 32
    async with beside(api) as other:
        assert other.parts.marks.key(["a"], [], b"b") == api.parts.marks.key(["a"], [], b"b")
    assert Marks(bytes(32)).key(["a"], [], b"b") != Marks(bytes(31) + b"\1").key(["a"], [], b"b")
    assert Marks(bytes(32)).key(["a"], [], b"b") != Marks(bytes(32)).key(["a"], [], b"c")
    with pytest.raises(ValueError, match="secret"):
        Marks(b"guess")


async def test_a_call_that_writes_twice_is_not_taken_for_its_own_repetition(api: Rig) -> None:
    """The key goes with its first write; the second is another append."""

    async def twice(call: Call) -> HttpAnswer:
        for _ in range(2):
            await call.write("node:x", lambda _: Change((NodeEligibilitySet("x", eligible=True),), ("node:x",)))
        return answer({})

    row = Row("POST", "/v1/twice", ANYONE, (), do=twice)
    who = Principal("user:admin")
    before = (await api.log.head()).index
    for _ in range(2):
        key = [(b"idempotency-key", KEY.encode())]
        call = Call(api.parts, who, "req_1", access=ANYONE, path={}, args={}, headers=key, receive=_no_body, client="")
        with contextlib.suppress(Conflict):
            await perform(row, call)
    assert (await api.log.head()).index == before + 2


async def _no_body() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


# ── a busy log ───────────────────────────────────────────────────────────────────────────────────────────────────────


class _Slow:
    """A sender to a log in memory that waits for a word."""

    def __init__(self, api: Rig) -> None:
        self.go = asyncio.Event()
        self.sent = 0
        self._log = api.log

    async def ready(self) -> None:
        """Be there."""

    async def send(self, _: UUID, appends: Sequence[Sealed]) -> list[Answer]:
        """Append one after the other."""
        self.sent += 1
        await self.go.wait()
        return [await self._one(each.append) for each in appends]

    async def _one(self, append: Append) -> Answer:
        try:
            return await self._log.append(append)
        except (Conflicted, Fenced, KeyReused) as refusal:
            return refusal


async def test_full_queue_is_busy_and_whoever_comes_back_with_its_key_is_served(
    api: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 with Retry-After for those beyond the bound, and nothing happens of theirs; the others are in, once."""
    slow = _Slow(api)
    appender = Appender(slow, lambda _: None, queue=3)

    async def through(append: Append) -> Appended:
        return await appender.append(seal(append))

    class Queued:
        append = staticmethod(through)
        recall, page = api.log.recall, api.log.page

    monkeypatch.setattr(api.parts, "writer", Writer(Queued, api.parts.view))  # type: ignore[arg-type] # what it uses
    running = asyncio.create_task(appender.run())
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(running.cancel)
        asked = [api.ask("POST", "/v1/jobs", spec("web-0"), headers=UNDER | {"Idempotency-Key": "0"})]
        await eventually(lambda: slow.sent == 1)
        asked += [api.ask("POST", "/v1/jobs", spec(f"web-{n}"), headers={"Idempotency-Key": str(n)}) for n in (1, 2, 3)]
        await eventually(lambda: len(appender._queue) == 3)
        busy = await api.post("/v1/jobs", spec("web-4"), headers={"Idempotency-Key": "4"})
        assert (busy.status, busy.error, busy.headers["retry-after"]) == (503, "busy", "1")
        slow.go.set()
        assert [(await each.reply()).status for each in asked] == [201] * 4
        replies = [await api.post("/v1/jobs", spec(f"web-{n}"), headers={"Idempotency-Key": str(n)}) for n in range(5)]
    assert [reply.headers.get("idempotency-replayed") for reply in replies] == ["true"] * 4 + [None]
    assert [reply.status for reply in replies] == [201] * 5
    assert len((await api.get("/v1/jobs")).body) == 5
