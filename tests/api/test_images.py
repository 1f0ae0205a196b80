"""Submits whose images have tags: a registry that answers decides what is new, one that does not is a warning."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.images import Images
from api.registry import Listed
from api.settings import Settings
from heroctl.domain.addresses import networks
from heroctl.domain.events import ImagePinned
from heroctl.domain.settings import SettingsError
from heroctl.outside import Outside
from tests.api import registries
from tests.api.registries import Fake
from tests.api.rig import Reply, Rig
from tests.api.specs import spec


@pytest.fixture
async def there(api: Rig) -> AsyncIterator[Fake]:
    """Run a registry that the api asks."""
    async with registries.fake() as made:
        api.parts.images = Images((Listed.parse("localhost:*"),), Outside(networks(["127.0.0.0/8", "::1"])))
        yield made
        await api.parts.images.close()


def shop(there: Fake, tag: str = "1", **more: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of a task
    return spec("web", {"image": f"{there.host}/shop:{tag}", **more})


async def post(api: Rig, body: object, **headers: str) -> Reply:
    reply = await api.post("/v1/jobs", body, headers=headers)
    assert reply.status in (200, 201), reply.body
    return reply


def codes(reply: Reply) -> set[str]:
    return {warning["code"] for warning in reply.body["warnings"]} - {"no_health_check", "no_coordinator"}


def version(api: Rig) -> tuple[int, str]:
    """Give the present version's number and what it is pinned to."""
    job = api.parts.view.state.job("default", "web")
    assert job is not None
    return job.current.version, job.current.tasks[0].image


async def test_the_same_tag_with_another_image_is_a_change(api: Rig, there: Fake) -> None:
    one = there.has("shop", "1", "one")
    assert codes(await post(api, shop(there))) == set()
    assert version(api) == (1, one)
    assert (await post(api, shop(there))).body["version"] == 1
    two = there.has("shop", "1", "two")
    assert (await post(api, shop(there))).body["version"] == 2
    assert version(api) == (2, two)


async def test_a_registry_that_does_not_answer_is_a_warning_and_changes_nothing(api: Rig, there: Fake) -> None:
    one = there.has("shop", "1", "one")
    await post(api, shop(there))
    there.answers.clear()
    same = await post(api, shop(there))
    assert (same.body["version"], codes(same)) == (1, {"image_unresolved"})
    more = await post(api, shop(there, count=2))
    assert (more.body["version"], codes(more)) == (2, {"image_unresolved"})
    assert version(api) == (2, one)
    [warning] = [each for each in more.body["warnings"] if each["code"] == "image_unresolved"]
    assert warning["path"] == "tasks[0].image"
    assert f"{there.host} has no such image" in warning["message"]


async def test_a_new_job_whose_registry_is_away_is_taken_without_a_pin(api: Rig, there: Fake) -> None:
    new = await post(api, shop(there))
    assert (new.status, codes(new), version(api)) == (201, {"image_unresolved"}, (1, ""))
    one = there.has("shop", "1", "one")
    uid = new.index
    await api.decide(ImagePinned(uid, "default", "web", 1, "app", one))
    assert (await post(api, shop(there))).body["version"] == 1
    assert version(api) == (1, one)


async def test_what_may_not_be_submitted_asks_nobody(api: Rig, there: Fake) -> None:
    there.has("shop", "1", "one")
    assert (await api.post("/v1/jobs", shop(there), token="")).status == 401
    refused = await api.post("/v1/jobs", shop(there, count=-1))
    assert refused.error == "invalid_spec"
    assert there.asked == []


async def test_others_write_while_a_registry_takes_its_time(api: Rig, there: Fake) -> None:
    """It is asked before the job's line is entered."""
    there.answers["/v2/shop/manifests/1"] = lambda _: None
    slow = api.ask("POST", "/v1/jobs", shop(there))
    await post(api, spec("web"))
    assert version(api) == (1, "")
    assert not slow.task.done()


async def test_a_call_sent_twice_is_answered_as_before_whatever_the_tag_is_now(api: Rig, there: Fake) -> None:
    there.has("shop", "1", "one")
    first = await post(api, shop(there), **{"Idempotency-Key": "k1"})
    there.has("shop", "1", "two")
    again = await post(api, shop(there), **{"Idempotency-Key": "k1"})
    assert (again.body["version"], again.index) == (first.body["version"], first.index)
    assert version(api)[0] == 1


async def test_an_image_that_is_none_is_refused_where_it_stands(api: Rig) -> None:
    refused = await api.post("/v1/jobs", spec("web", {"image": "Shop:1"}))
    assert refused.error == "invalid_spec"
    [problem] = refused.body["details"]
    assert (problem["path"], problem["code"]) == ("tasks[0].image", "invalid_value")
    assert "'Shop:1' names no image" in problem["message"]


@pytest.mark.parametrize(
    ("field", "text", "flag"),
    [
        ("registries", "http://", "--registry"),
        ("registries", "a/b", "--registry"),
        ("registry_networks", "10.0.0.0/33", "--registry-network"),
        ("registry_networks", "internal", "--registry-network"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(field: str, text: str, flag: str) -> None:
    with pytest.raises(SettingsError, match=flag):
        Settings(dsn="postgresql://", **{field: (text,)})  # type: ignore[arg-type] # fields by name


def test_a_list_of_registries_may_be_empty() -> None:
    assert Settings(dsn="postgresql://", registries=()).registries == ()
    assert "docker.io" in Settings(dsn="postgresql://").registries


async def test_a_dry_run_tells_that_a_tag_has_moved_and_what_could_not_be_asked(api: Rig, there: Fake) -> None:
    one = there.has("shop", "1", "one")
    await post(api, shop(there))
    same = (await api.post("/v1/jobs/plan", shop(there))).body
    assert (same["changed"], same["diff"]) == (False, [])
    two = there.has("shop", "1", "two")
    moved = (await api.post("/v1/jobs/plan", shop(there))).body
    assert (moved["changed"], moved["version"]) == (True, 2)
    assert moved["diff"] == [{"path": "tasks[app].digest", "kind": "changed", "from": one, "to": two}]
    there.answers.clear()
    away = (await api.post("/v1/jobs?dry_run=true", shop(there))).body
    assert (away["changed"], away["diff"]) == (False, [])
    assert "image_unresolved" in {warning["code"] for warning in away["warnings"]}
    assert version(api) == (1, one)
