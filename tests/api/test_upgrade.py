"""An api whose release is behind the log: it serves what it can read, says so, and changes nothing."""

from __future__ import annotations

import pytest

from eventstore.log import Append
from eventstore.members import Present
from heroctl.domain.events import LevelRaised
from heroctl.domain.records import Member
from tests.api.rig import Rig
from tests.api.specs import spec
from tests.upgrade import tomorrow
from tests.waiting import eventually


async def raise_level(api: Rig, level: int) -> None:
    """Raise the log's level, as a coordinator does, and let the api hear of it."""
    api.log.raise_level(Append((LevelRaised(level),), epoch=api.log.epoch), level)
    await eventually(lambda: api.parts.view.state.level == level)


async def test_an_outdated_api_reads_and_writes_not(api: Rig) -> None:
    assert (await api.post("/v1/jobs", spec())).status == 201
    assert (await api.get("/v1/health/ready")).status == 200
    await raise_level(api, 2)
    head = await api.log.head()
    refused = await api.post("/v1/jobs", spec("other"))
    assert (refused.status, refused.error, "retry-after" in refused.headers) == (503, "outdated", True)
    ready = await api.get("/v1/health/ready")
    assert (ready.status, ready.error) == (503, "outdated")
    assert (await api.get("/v1/health/live")).status == 200
    assert [job["name"] for job in (await api.get("/v1/jobs")).body] == ["web"]
    assert await api.log.head() == head


async def test_an_outdated_api_says_so(api: Rig) -> None:
    newer = Present(Member("api-new", "api", "192.0.2.2", "2.0.0"), level=2)
    await api.members.renew(newer)
    await raise_level(api, 2)
    await api.parts.pulse.renew()
    await api.parts.pulse.look()
    api.clock.ticks += 2
    status = (await api.get("/v1/cluster/status")).body
    [events] = [check for check in status["checks"] if check["name"] == "events"]
    assert (status["level"], events["ok"]) == (2, False)
    assert "level 2" in events["message"]
    [level] = [check for check in status["checks"] if check["name"] == "level"]
    assert (level["ok"], level["message"]) == (False, "of an older release than the log: api-test")
    peers = {peer["id"]: (peer["level"], peer["outdated"]) for peer in (await api.get("/v1/cluster/peers")).body}
    assert peers == {"api-new": (2, False), "api-test": (1, True)}


async def test_an_api_ahead_of_the_log_writes_what_the_others_can_read(
    api: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The earlier schema, no late field; and all of it once the level has risen."""
    tomorrow.learn(monkeypatch)
    monkeypatch.setattr(api.parts.view, "level", tomorrow.LEVEL)
    late = spec(task={"stop_signal": "SIGUSR1"})
    refused = await api.post("/v1/jobs", late)
    assert (refused.status, refused.error) == (409, "upgrade_incomplete")
    assert "tasks[0].stop_signal" in refused.body["message"]
    assert (await api.post("/v1/jobs", spec())).status == 201
    assert (await api.post("/v1/jobs/web/stop", {})).status == 200
    assert (await api.log.page(0))[-1][3:5] == (tomorrow.TAG, 1)
    await raise_level(api, tomorrow.LEVEL)
    assert (await api.post("/v1/jobs", late)).status in (200, 201)
    assert (await api.post("/v1/jobs/web/stop", {})).status == 200
    assert (await api.log.page(0))[-1][3:5] == (tomorrow.TAG, 2)
    assert api.parts.view.sound
