"""Every POST that can be answered again, asked with a key, of an api that was made ready for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

from tests.api.hooks import hook, told
from tests.api.rig import PASSWORD, Reply, Rig
from tests.api.specs import (
    NIGHTLY,
    batch,
    candidates,
    coordinated,
    join,
    open_session,
    place,
    runs,
    spec,
    submit,
    trial,
)

KEY: Final = "8f14e45f-ceea-467f-a187-1c0e3b2d6f9a"
UNDER: Final = {"Idempotency-Key": KEY}


class Ask(NamedTuple):
    """A POST with a key."""

    path: str
    body: Any = None

    async def of(self, api: Rig, key: str = KEY, **more: Any) -> Reply:  # noqa: ANN401 - see Rig.ask
        """Send it."""
        return await api.post(self.path, self.body, headers={"Idempotency-Key": key}, **more)


async def _nothing(api: Rig) -> Ask:
    return Ask("/v1/jobs", spec())


async def _a_job(api: Rig) -> Ask:
    await submit(api)
    return Ask("/v1/jobs", spec(meta={"a": "b"}))


async def _the_same_job(api: Rig) -> Ask:
    await submit(api)
    return Ask("/v1/jobs", spec())


async def _a_running_job(api: Rig) -> Ask:
    await submit(api)
    return Ask("/v1/jobs/web/stop")


async def _a_stopped_job(api: Rig) -> Ask:
    await submit(api)
    await api.post("/v1/jobs/web/stop")
    return Ask("/v1/jobs/web/stop", {})


def _of_a_job(verb: str, name: str, **body: Any) -> Callable[[Rig], Awaitable[Ask]]:  # noqa: ANN401 - fields of a body
    async def begin(api: Rig) -> Ask:
        await submit(api)
        await submit(api, task={"command": ["two"]})
        return Ask(f"/v1/jobs/web/{verb}", body)

    begin.__name__ = f"_{name}"
    return begin


def _of_a_deployment(verb: str, name: str, *before: str) -> Callable[[Rig], Awaitable[Ask]]:
    async def begin(api: Rig) -> Ask:
        await coordinated(api)
        path = f"/v1/deployments/{await trial(api)}"
        for each in before:
            await api.post(f"{path}/{each}")
        return Ask(f"{path}/{verb}")

    begin.__name__ = f"_{name}"
    return begin


async def _an_alert(api: Rig) -> Ask:
    await submit(api)
    return Ask("/v1/alerts", {"name": "hot", "metric": "cpu", "condition": "> 1", "for": "1m", "job": "web"})


async def _an_alloc(api: Rig) -> Ask:
    node, token = await join(api)
    await open_session(api, token)
    await submit(api)
    return Ask(f"/v1/allocations/{(await place(api, node))[:6]}/stop")


async def _a_stopping_alloc(api: Rig) -> Ask:
    ask = await _an_alloc(api)
    await api.post(ask.path)
    return ask


def _of_an_alloc(verb: str, name: str, **body: object) -> Callable[[Rig], Awaitable[Ask]]:
    async def begin(api: Rig) -> Ask:
        node, token = await join(api)
        await open_session(api, token)
        await submit(api)
        alloc = await place(api, node)
        await runs(api, node, alloc)
        return Ask(f"/v1/allocations/{alloc[:6]}/{verb}", body or None)

    begin.__name__ = f"_{name}"
    return begin


async def _a_node(api: Rig) -> Ask:
    await join(api)
    return Ask("/v1/nodes/node-1/eligibility", {"eligible": False})


async def _an_eligible_node(api: Rig) -> Ask:
    await join(api)
    return Ask("/v1/nodes/node-1/eligibility", {"eligible": True})


def _of_a_node(name: str, **body: Any) -> Callable[[Rig], Awaitable[Ask]]:  # noqa: ANN401 - fields of a body
    async def begin(api: Rig) -> Ask:
        await _an_alloc(api)
        return Ask("/v1/nodes/node-1/drain", body)

    begin.__name__ = f"_{name}"
    return begin


async def _unknown_containers(api: Rig) -> Ask:
    _, token = await join(api)
    await open_session(api, token, inventory={"reports": [], "unknown": ["c0ffee", "decade"]})
    return Ask("/v1/nodes/node-1/unknown/release", {"containers": ["decade"]})


async def _released_containers(api: Rig) -> Ask:
    ask = await _unknown_containers(api)
    await api.post(ask.path, ask.body)
    return ask


def _of_the_brake(name: str, *, on: bool) -> Callable[[Rig], Awaitable[Ask]]:
    async def begin(api: Rig) -> Ask:
        await coordinated(api)
        return Ask("/v1/cluster/brake", {"on": on})

    begin.__name__ = f"_{name}"
    return begin


def _of_the_lease(name: str, target: str) -> Callable[[Rig], Awaitable[Ask]]:
    async def begin(api: Rig) -> Ask:
        await coordinated(api)
        await candidates(api, "reconciler-1", "reconciler-2")
        return Ask("/v1/raft/transfer-leadership", {"target": target} if target else None)

    begin.__name__ = f"_{name}"
    return begin


async def _a_batch_job(api: Rig) -> Ask:
    await api.post("/v1/jobs", batch())
    return Ask("/v1/jobs/import/dispatch", {"payload": "row 1", "meta": {"k": "v"}})


async def _a_periodic_job(api: Rig) -> Ask:
    await coordinated(api)
    await api.post("/v1/jobs", batch("nightly", periodic=NIGHTLY))
    return Ask("/v1/jobs/nightly/periodic/force")


async def _a_job_out_of_balance(api: Rig) -> Ask:
    await coordinated(api)
    await submit(api)
    return Ask("/v1/jobs/web/rebalance")


async def _a_job_being_balanced(api: Rig) -> Ask:
    ask = await _a_job_out_of_balance(api)
    await api.post(ask.path)
    return ask


def _new(path: str, **body: Any) -> Callable[[Rig], Awaitable[Ask]]:  # noqa: ANN401 - fields of a body
    async def begin(_: Rig) -> Ask:
        return Ask(path, {"name": "new", **body})

    begin.__name__ = f"_new_{path.rpartition('/')[2]}"
    return begin


def _a_webhook(verb: str, name: str, **body: Any) -> Callable[[Rig], Awaitable[Ask]]:  # noqa: ANN401 - fields of a body
    async def begin(api: Rig) -> Ask:
        identity = (await hook(api)).body["id"]
        await told(api, identity)
        return Ask(f"/v1/webhooks/{identity}/{verb}", body)

    begin.__name__ = f"_{name}"
    return begin


def _of_a_secret(value: str, name: str, *before: str) -> Callable[[Rig], Awaitable[Ask]]:
    async def begin(api: Rig) -> Ask:
        for each in before:
            await api.post("/v1/secrets", {"name": "db", "value": each})
        return Ask("/v1/secrets", {"name": "db", "value": value})

    begin.__name__ = f"_{name}"
    return begin


def _back_to(version: int, name: str) -> Callable[[Rig], Awaitable[Ask]]:
    async def begin(api: Rig) -> Ask:
        for each in ("one", "two"):
            await api.post("/v1/secrets", {"name": "db", "value": each})
        return Ask("/v1/secrets/db/rollback", {"version": version})

    begin.__name__ = f"_{name}"
    return begin


async def _a_password(_: Rig) -> Ask:
    return Ask("/v1/acl/self/password", {"current": PASSWORD, "new": "another long one"})


_RULE: Final = {"resource": "job", "namespace": "*", "capabilities": ["read"]}

# Every POST that can be answered again, with something that it changes, and something that it does not.
AGAIN: Final[dict[str, Sequence[Callable[[Rig], Awaitable[Ask]]]]] = {
    "/v1/jobs": (_nothing, _a_job, _the_same_job),
    "/v1/jobs/{name}/stop": (_a_running_job, _a_stopped_job),
    "/v1/jobs/{name}/rollback": (
        _of_a_job("rollback", "rolled_back", version=1),
        _of_a_job("rollback", "rolled_nowhere", version=2),
    ),
    "/v1/jobs/{name}/scale": (_of_a_job("scale", "scaled", count=3), _of_a_job("scale", "scaled_to_the_same", count=1)),
    "/v1/jobs/{name}/dispatch": (_a_batch_job,),
    "/v1/jobs/{name}/periodic/force": (_a_periodic_job,),
    "/v1/jobs/{name}/restart": (_of_a_job("restart", "restarted"),),
    "/v1/deployments/{id}/promote": (
        _of_a_deployment("promote", "promoted"),
        _of_a_deployment("promote", "promoted_already", "promote"),
    ),
    "/v1/deployments/{id}/pause": (
        _of_a_deployment("pause", "paused"),
        _of_a_deployment("pause", "paused_already", "pause"),
    ),
    "/v1/deployments/{id}/resume": (
        _of_a_deployment("resume", "resumed", "pause"),
        _of_a_deployment("resume", "never_paused"),
    ),
    "/v1/deployments/{id}/fail": (
        _of_a_deployment("fail", "failed"),
        _of_a_deployment("fail", "failed_already", "fail"),
    ),
    "/v1/allocations/{id}/stop": (_an_alloc, _a_stopping_alloc),
    "/v1/allocations/{id}/restart": (_of_an_alloc("restart", "an_alloc_begun_anew"),),
    "/v1/allocations/{id}/signal": (_of_an_alloc("signal", "a_signal_sent", signal="SIGHUP"),),
    "/v1/nodes/{id}/eligibility": (_a_node, _an_eligible_node),
    "/v1/nodes/{id}/drain": (
        _of_a_node("drained"),
        _of_a_node("drained_soon", deadline_seconds=60, ignore_system=True),
    ),
    "/v1/nodes/{id}/unknown/release": (_unknown_containers, _released_containers),
    "/v1/cluster/brake": (_of_the_brake("brake_on", on=True), _of_the_brake("brake_off_already", on=False)),
    "/v1/raft/transfer-leadership": (
        _of_the_lease("transferred", ""),
        _of_the_lease("transferred_to_it", "reconciler-2"),
        _of_the_lease("transferred_nowhere", "reconciler-1"),
    ),
    "/v1/jobs/{name}/rebalance": (_a_job_out_of_balance, _a_job_being_balanced),
    "/v1/secrets": (
        _of_a_secret("one", "secret_made"),
        _of_a_secret("two", "secret_changed", "one"),
        _of_a_secret("two", "secret_not_changed", "one", "two"),
    ),
    "/v1/secrets/{name}/rollback": (_back_to(1, "secret_rolled_back"), _back_to(2, "secret_rolled_nowhere")),
    "/v1/alerts": (_an_alert,),
    "/v1/webhooks/{id}/ping": (_a_webhook("ping", "pinged"),),
    "/v1/webhooks/{id}/deliveries/redeliver": (_a_webhook("deliveries/redeliver", "redelivered", first=1, last=9),),
    "/v1/webhooks/{id}/deliveries/{n}/redeliver": (_a_webhook("deliveries/1/redeliver", "redelivered_one"),),
    "/v1/acl/users": (_new("/v1/acl/users", password="a long enough one", roles=["viewer"]),),
    "/v1/acl/roles": (_new("/v1/acl/roles", policies=["viewer"]),),
    "/v1/acl/policies": (_new("/v1/acl/policies", rules=[_RULE]),),
    "/v1/acl/self/password": (_a_password,),
    "/v1/namespaces": (_new("/v1/namespaces", description="for tests"),),
}
