"""Secrets on a node: asked for before each start, waited for, never written down nor told."""

from __future__ import annotations

import asyncio
import base64
import string
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from structlog.testing import capture_logs

from agents.client import Away
from agents.fake_runtime import Script
from agents.login import Login
from agents.secrets import Secrets, SecretUnavailable, Waiting, without
from heroctl.domain.assignment import Assigned, SecretsReply
from heroctl.domain.spec import File
from tests.agents.control import refusal
from tests.agents.rig import WEB, Rig, alloc, rig

VALUE = "open-sesame"
SPEC = replace(
    WEB,
    env={"PASSWORD": "<${secret.key}>"},
    files=(File("/run/key", "${secret.key}"), File("/etc/app.conf", "plain")),
)


def wants(name: str = "a1", **fields: object) -> Assigned:
    return replace(alloc(name, replace(SPEC, **fields)), secrets=("key", "registry"))


def restarting(name: str = "a1") -> Assigned:
    return wants(name, image="crashing:1")


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path) as made:
        made.control.secrets["a1"] = {"key": VALUE.encode(), "registry": b"robot:beep-boop"}
        yield made


def on_disk(there: Rig) -> bytes:
    return b"".join(path.read_bytes() for path in there.folder.rglob("*") if path.is_file())


async def test_they_are_filled_in_just_before_the_start(there: Rig) -> None:
    there.control.want(wants())
    there.start()
    await there.until(there.control.is_phase("a1", "running"))
    [made] = there.runtime.started.values()
    assert made.env["PASSWORD"] == f"<{VALUE}>"
    assert {file.path: (file.content, file.secret) for file in made.files} == {
        "/run/key": (VALUE.encode(), True),
        "/etc/app.conf": (b"plain", False),
    }
    assert made.secret
    assert VALUE.encode() not in on_disk(there)
    assert VALUE not in str(there.control.history)
    assert there.control.asked_for == [["a1"]]


async def test_who_has_none_asks_for_none(there: Rig) -> None:
    there.control.want(alloc("a2"))
    there.start()
    await there.until(there.control.is_phase("a2", "running"))
    assert there.control.asked_for == []


async def test_each_attempt_asks_anew(there: Rig) -> None:
    there.runtime.scripts["crashing:1"] = Script(exits_after=1.0, exit_code=1)
    there.control.want(restarting())
    there.start()
    await there.until(lambda: len(there.control.asked_for) == 2)
    there.control.secrets["a1"]["key"] = b"another"
    await there.until(lambda: len(there.control.asked_for) == 3)
    await there.until(there.control.is_phase("a1", "failed"))


async def test_while_nobody_answers_it_waits_and_says_so_once(there: Rig) -> None:
    there.control.fault = lambda path: refusal(503, "behind") if path == "secrets" else None
    there.control.want(wants())
    there.start()
    await there.until(lambda: "a1" in there.control.seen and there.control.seen["a1"].reason != "")
    report = there.control.seen["a1"]
    assert (report.phase, report.reason, report.attempt) == ("starting", "waiting_for_secrets", 1)
    assert "behind" in report.message
    told = len(there.control.history)
    await there.pass_time(60)
    assert len(there.control.history) == told, "waiting is told once"
    assert there.states() == {}
    there.control.fault = lambda _: None
    await there.until(there.control.is_phase("a1", "running"))
    assert (there.control.seen["a1"].reason, there.control.seen["a1"].restarts) == ("", 0)


async def test_how_the_attempt_before_ended_is_not_hidden_by_waiting(there: Rig) -> None:
    there.runtime.scripts["crashing:1"] = Script(exits_after=1.0, exit_code=7)
    there.control.want(restarting())
    there.start()
    await there.until(there.control.is_phase("a1", "running"))
    there.control.fault = lambda path: refusal(503, "behind") if path == "secrets" else None
    await there.until(lambda: "behind" in there.control.seen["a1"].message)
    report = there.control.seen["a1"]
    assert (report.attempt, report.phase, report.reason, report.failed_attempt) == (2, "starting", "exited", 1)
    assert report.message.startswith("exited with code 7\n")


async def test_one_that_is_gone_fails_the_allocation(there: Rig) -> None:
    del there.control.secrets["a1"]
    there.control.withheld["a1"] = "missing"
    there.control.want(wants())
    there.start()
    await there.until(there.control.is_phase("a1", "failed"))
    assert there.control.seen["a1"].reason == "secret_unavailable"
    assert there.runtime.started == {}


@pytest.mark.parametrize("why", ["unknown", "over", "foreign"])
async def test_an_api_that_knows_less_than_we_do_is_asked_again(there: Rig, why: str) -> None:
    held = there.control.secrets.pop("a1")
    there.control.withheld["a1"] = why
    there.control.want(wants())
    there.start()
    await there.until(lambda: len(there.control.asked_for) > 2)
    there.control.secrets["a1"] = held
    await there.until(there.control.is_phase("a1", "running"))


async def test_one_that_is_not_among_them_is_named(there: Rig) -> None:
    del there.control.secrets["a1"]["key"]
    there.control.want(wants())
    there.start()
    await there.until(there.control.is_phase("a1", "failed"))
    report = there.control.seen["a1"]
    assert report.reason == "secret_unavailable"
    assert "${secret.key}" in report.message


async def test_who_is_stopped_while_it_waits_stops(there: Rig) -> None:
    there.control.fault = lambda path: refusal(503, "behind") if path == "secrets" else None
    there.control.want(wants())
    there.start()
    await there.until(lambda: "a1" in there.control.seen and there.control.seen["a1"].reason != "")
    there.control.want(replace(wants(), wanted="stop"))
    await there.until(there.control.is_phase("a1", "complete"))
    assert there.control.asked_for == []


async def test_what_a_runtime_says_of_a_failure_is_told_without_them(there: Rig) -> None:
    there.runtime.scripts["shop:1"] = Script(refused=f"cannot set PASSWORD=<{VALUE}>")
    there.control.want(wants())
    there.start()
    with capture_logs() as logs:
        await there.until(there.control.is_phase("a1", "failed"))
    assert there.control.seen["a1"].message == "cannot set PASSWORD=<***>"
    assert VALUE not in str(there.control.history) + str(logs)
    assert VALUE.encode() not in on_disk(there)


def test_what_is_hidden_leaves_no_part_of_a_value() -> None:
    values = {"short": b"open", "long": b"open-sesame", "key": b'first "line"\nsecond line'}
    said = 'open-sesame; "first \\"line\\"\\nsecond line"; second line; open'
    assert without(said, values) == '***; "***"; ***; ***'


async def test_an_image_is_pulled_as_whoever_a_secret_says(there: Rig) -> None:
    there.runtime.scripts["private:1"] = Script(here=False, private=True)
    there.control.want(wants(image="private:1", image_auth="${secret.registry}"))
    there.start()
    await there.until(there.control.is_phase("a1", "running"))
    assert there.runtime.logins == {"private:1": Login("robot", "beep-boop")}
    assert b"beep-boop" not in on_disk(there)


async def test_a_pull_that_waits_for_a_secret_asks_at_measured_intervals(there: Rig) -> None:
    asked: list[float] = []

    def fault(path: str) -> httpx2.Response | None:
        if path != "secrets":
            return None
        asked.append(there.clock.now())
        return refusal(503, "behind")

    there.control.fault = fault
    there.runtime.scripts["private:1"] = Script(here=False, private=True)
    there.control.want(wants(image="private:1", image_auth="${secret.registry}"))
    there.start()
    await there.until(lambda: len(asked) > 5, most=120)
    began = there.clock.now()
    await there.pass_time(60)
    assert len([at for at in asked if at > began]) <= 30, "at most every other second, once it goes on for long"
    there.control.fault = lambda _: None
    await there.until(there.control.is_phase("a1", "running"))


async def test_a_registry_that_knows_nobody_fails_the_allocation_at_once(there: Rig) -> None:
    there.runtime.scripts["private:1"] = Script(here=False, private=True)
    there.control.want(wants(image="private:1"))
    there.start()
    await there.until(there.control.is_phase("a1", "failed"))
    assert there.control.seen["a1"].reason == "image_auth_failed"
    assert [call for call in there.runtime.calls if call.startswith("pull")] == ["pull private:1"]


async def test_a_secret_that_is_no_login_is_named_and_not_shown(there: Rig) -> None:
    there.runtime.scripts["private:1"] = Script(here=False, private=True)
    there.control.secrets["a1"]["registry"] = b"beep-boop"
    there.control.want(wants(image="private:1", image_auth="${secret.registry}"))
    there.start()
    await there.until(there.control.is_phase("a1", "failed"))
    report = there.control.seen["a1"]
    assert report.reason == "secret_unavailable"
    assert "registry" in report.message
    assert "beep-boop" not in report.message


# ── questions ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_who_asks_while_a_question_is_under_way_is_in_the_next_one() -> None:
    questions: list[list[str]] = []
    answer = asyncio.Event()

    async def ask(allocs: list[str]) -> SecretsReply:
        questions.append(allocs)
        await answer.wait()
        return SecretsReply({alloc: {"name": "YQ=="} for alloc in allocs})

    secrets = Secrets(ask)
    asking = [asyncio.create_task(secrets.of("a0"))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking += [asyncio.create_task(secrets.of(f"a{number % 150 + 1}")) for number in range(300)]
    await asyncio.sleep(0)
    answer.set()
    assert await asyncio.gather(*asking) == [{"name": b"a"}] * 301
    assert [len(allocs) for allocs in questions] == [1, *6 * [25]]
    await secrets.close()


async def test_an_answer_that_cannot_be_read_is_none() -> None:
    async def ask(allocs: list[str]) -> SecretsReply:
        return SecretsReply({alloc: {"name": "not base64!"} for alloc in allocs})

    with pytest.raises(Waiting):
        await Secrets(ask).of("a1")


async def test_no_answer_and_a_refusal_are_told_apart() -> None:
    async def away(_: list[str]) -> SecretsReply:
        raise Away("nobody")

    async def missing(_: list[str]) -> SecretsReply:
        return SecretsReply(refused={"a1": "missing"})

    with pytest.raises(Waiting, match="nobody"):
        await Secrets(away).of("a1")
    with pytest.raises(SecretUnavailable):
        await Secrets(missing).of("a1")


async def test_who_still_waits_when_the_agent_ends_hears_of_it() -> None:
    async def never(_: list[str]) -> SecretsReply:
        await asyncio.Event().wait()
        raise AssertionError

    secrets = Secrets(never)
    asking = asyncio.create_task(secrets.of("a1"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await secrets.close()
    with pytest.raises(Waiting):
        await asking


async def test_what_a_workload_said_as_it_ended_is_told_without_them() -> None:
    """It goes into the log of events, for good."""

    async def ask(allocs: list[str]) -> SecretsReply:
        return SecretsReply({alloc: {"key": base64.b64encode(VALUE.encode()).decode()} for alloc in allocs})

    secrets = Secrets(ask)
    assert await secrets.heard(wants(), f"cannot log in with {VALUE}") == "cannot log in with ***"
    assert await secrets.heard(wants(), "") == ""
    assert await secrets.heard(alloc("a1"), f"it made up {VALUE}") == f"it made up {VALUE}", "it has none"


async def test_what_it_said_is_not_told_while_nobody_says_what_they_hold() -> None:
    async def away(_: list[str]) -> SecretsReply:
        raise Away("nobody")

    assert await Secrets(away).heard(wants(), f"cannot log in with {VALUE}") == ""


@given(
    st.text(string.ascii_letters + string.digits + '-_/+="\\', min_size=8, max_size=40),
    st.integers(0, 60),
    st.text("xyz \n", max_size=20),
)
def test_of_a_value_that_was_cut_no_end_is_left(value: str, cut: int, after: str) -> None:
    said = ("before " + value + after)[cut:]
    kept = without(said, {"db": value.encode()})
    for at in range(len(value) - 4 + 1):
        assert not kept.startswith(value[at:])
    assert value not in kept
