"""Another master key, online: killed at every step, beside writers and other apis, and said what is needed no more."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from api import rekey as rekeying
from eventstore.log import LogUnavailable
from eventstore.master import Read, given
from eventstore.seal import key_of
from eventstore.vault import HANDFUL, MemoryVault
from tests.api.rig import MASTER_KEYS, Rig, beside, rig

NEW: Final = base64.b64encode(os.urandom(32)).decode()
COUNT: Final = 3  # secrets, of two versions each
THIRD: Final = base64.b64encode(os.urandom(32)).decode()


def ids(*words: str) -> list[str]:
    return [key.id for key in given("", words)()]


OLD_ID, NEW_ID, THIRD_ID = ids(*MASTER_KEYS, NEW, THIRD)
BOTH: Final[Read] = given("", (*MASTER_KEYS, NEW))


@pytest.fixture
async def turned(api: Rig) -> AsyncIterator[Rig]:
    """An api with secrets that were sealed before it was given a newer key."""
    for number in range(COUNT):
        await api.post("/v1/secrets", {"name": f"s{number}", "value": f"value {number}"})
        await api.post("/v1/secrets", {"name": f"s{number}", "value": f"newer {number}"})
    async with beside(api, keys=BOTH) as made:
        yield made


async def holds(api: Rig, count: int = COUNT) -> None:
    """Hold that every version of every secret is what it was."""
    for number in range(count):
        for version, word in ((1, "value"), (2, "newer")):
            reply = await api.get(f"/v1/secrets/s{number}?version={version}")
            assert (reply.status, reply.body.get("value")) == (200, f"{word} {number}"), reply.body


async def sealed_with(api: Rig) -> set[str]:
    return {key_of(row.data) for row in await api.parts.vault.unlike("secret", b"-")}


async def test_all_secrets_get_another_key_and_the_old_one_is_needed_no_more(turned: Rig) -> None:
    assert await sealed_with(turned) == {OLD_ID}
    done = await turned.post("/v1/secrets/rekey")
    assert (done.status, done.body) == (
        200,
        {
            "key": NEW_ID,
            "rewrapped": 2 * COUNT,
            "left": 0,
            "lost": 0,
            "done": True,
            "unneeded": [{"id": OLD_ID, "position": 1}],
            "index": done.index,
        },
    )
    assert await sealed_with(turned) == {NEW_ID}
    await holds(turned)
    async with beside(turned, keys=given("", (NEW,))) as without:
        await holds(without)
    again = (await turned.post("/v1/secrets/rekey")).body
    assert (again["rewrapped"], again["done"]) == (0, True)


async def test_a_new_key_seals_from_the_rekey_on_and_not_before(turned: Rig, api: Rig) -> None:
    """Or another api, which has not been given it yet, could not open what was written."""
    await turned.post("/v1/secrets", {"name": "early", "value": "x"})
    assert (await api.get("/v1/secrets/early")).status == 200
    await turned.post("/v1/secrets/rekey")
    refused = await api.get("/v1/secrets/early")
    assert (refused.status, refused.error, NEW_ID in refused.body["message"]) == (503, "secrets_key_missing", True)
    assert (await api.post("/v1/secrets", {"name": "late", "value": "x"})).error == "secrets_key_missing"


async def test_the_audit_tells_of_it_first(turned: Rig) -> None:
    append, turned.log.append = turned.log.append, _no_append  # type: ignore[method-assign] # a log that takes nothing
    assert (await turned.post("/v1/secrets/rekey")).error == "log_unavailable"
    turned.log.append = append  # type: ignore[method-assign] # and one that does
    assert await sealed_with(turned) == {OLD_ID}
    await turned.post("/v1/secrets/rekey", headers={"x-request-id": "turn-1"})
    [told] = (await turned.get("/v1/audit?type=secret.rekeyed")).body
    assert (told["actor"], told["request_id"], told["data"]) == ("user:admin", "turn-1", {"key": NEW_ID})
    for word in (*MASTER_KEYS, NEW):
        for form in (word.encode(), base64.b64decode(word), base64.b64decode(word).hex().encode()):
            assert form not in (await turned.get("/v1/log")).raw
            for kind in ("secret", "master_key"):
                assert [row.id for row in await turned.parts.vault.all_of(kind) if form in row.data] == []


async def _no_append(append: object) -> Any:  # noqa: ANN401 - never
    raise LogUnavailable(f"no place for {append}")


class Failing(MemoryVault):
    """A vault whose nth call fails, before or after it did what it was asked for."""

    def __init__(self, inner: MemoryVault, at: int, *, after: bool) -> None:
        self._rows = inner._rows
        self._clock = inner._clock
        self.calls = 0
        self.at, self.after = at, after

    async def _step(self, doing: Any) -> Any:  # noqa: ANN401 - what a call gives
        self.calls += 1
        if self.calls == self.at and not self.after:
            doing.close()
            raise LogUnavailable("killed before")
        found = await doing
        if self.calls == self.at:
            raise LogUnavailable("killed after")
        return found

    async def keep(self, identity: str, kind: str, data: bytes) -> Any:  # noqa: ANN401 - bytes
        return await self._step(super().keep(identity, kind, data))

    async def renew(self, identity: str, old: bytes, new: bytes) -> None:
        await self._step(super().renew(identity, old, new))

    async def unlike(self, kind: str, begin: bytes, after: str = "") -> Any:  # noqa: ANN401 - rows
        return await self._step(_listed(self, kind, begin, after))

    async def count(self, kind: str, begin: bytes = b"") -> Any:  # noqa: ANN401 - a number
        return await self._step(super().count(kind, begin))

    async def delete(self, identities: Any) -> None:  # noqa: ANN401 - ids
        await self._step(super().delete(identities))


async def _listed(vault: MemoryVault, kind: str, begin: bytes, after: str) -> Any:  # noqa: ANN401 - rows
    return await MemoryVault.unlike(vault, kind, begin, after)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_killed_at_any_step_it_is_finished_by_running_it_again(turned: Rig, *, after: bool) -> None:
    whole = turned.parts.vault
    assert isinstance(whole, MemoryVault)
    begun, step = dict(whole._rows), 0
    while True:
        step += 1
        whole._rows.clear()
        whole._rows.update(begun)
        failing = Failing(whole, step, after=after)
        turned.parts.vault = turned.parts.master._vault = failing
        killed = await turned.post("/v1/secrets/rekey")
        turned.parts.vault = turned.parts.master._vault = whole
        await holds(turned)
        async with beside(turned, keys=BOTH) as other:
            await holds(other)
            done = (await other.post("/v1/secrets/rekey")).body
        assert (done["done"], done["left"], done["lost"]) == (True, 0, 0)
        assert await sealed_with(turned) == {NEW_ID}
        async with beside(turned, keys=given("", (NEW,))) as without:
            await holds(without)
        if killed.status == 200:
            break
        assert killed.error == "log_unavailable"
    assert step > 2 * COUNT + 2, "every row is a step, and so is what comes before and after"


async def test_it_is_safe_beside_writers_and_itself(turned: Rig) -> None:
    async with beside(turned, keys=BOTH) as other:
        writes = [
            process.post("/v1/secrets", {"name": f"w{number}", "value": f"w {number}"})
            for number in range(20)
            for process in (turned, other)
        ]
        rekeys = [process.post("/v1/secrets/rekey") for process in (turned, other)] * 1
        replies = await asyncio.gather(*writes[:20], *rekeys, *writes[20:])
        assert all(reply.status in (200, 201) for reply in replies), [reply.body for reply in replies]
        assert (await turned.post("/v1/secrets/rekey")).body["done"]
        assert await sealed_with(turned) == {NEW_ID}
        await holds(turned)
        for number in range(20):
            assert (await other.get(f"/v1/secrets/w{number}")).body["value"] == f"w {number}"


async def test_a_row_that_somebody_changed_meanwhile_keeps_what_he_made_of_it(turned: Rig) -> None:
    """A secret is deleted between the reading of its row and its renewal: it does not come back."""
    vault, renew = turned.parts.vault, turned.parts.vault.renew

    async def deleted_first(identity: str, old: bytes, new: bytes) -> None:
        await vault.delete([identity])
        await renew(identity, old, new)

    vault.renew = deleted_first  # type: ignore[method-assign] # somebody is faster
    assert (await turned.post("/v1/secrets/rekey")).body["done"]
    assert await vault.count("secret") == 0


async def test_a_call_ends_in_time_and_the_next_one_goes_on(turned: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(HANDFUL):
        await turned.post("/v1/secrets", {"name": f"more{number}", "value": "x"})
    monkeypatch.setattr(rekeying, "LONGEST", 0.0)
    begun = (await turned.post("/v1/secrets/rekey")).body
    assert (begun["rewrapped"], begun["left"], begun["done"], begun["unneeded"]) == (0, HANDFUL + 2 * COUNT, False, [])
    monkeypatch.setattr(rekeying, "LONGEST", 10.0)
    done = (await turned.post("/v1/secrets/rekey")).body
    assert (done["rewrapped"], done["left"], done["done"]) == (HANDFUL + 2 * COUNT, 0, True)


async def test_what_does_not_open_any_more_is_counted_and_keeps_its_key(turned: Rig) -> None:
    vault = turned.parts.vault
    assert isinstance(vault, MemoryVault)
    row, *_ = await vault.unlike("secret", b"-")
    vault._rows[row.id] = (row.data[:30] + b"?" + row.data[31:], 0.0, "secret")
    done = (await turned.post("/v1/secrets/rekey")).body
    assert (done["rewrapped"], done["left"], done["lost"], done["done"], done["unneeded"]) == (
        2 * COUNT - 1,
        1,
        1,
        True,
        [],
    )


async def test_keys_may_follow_one_another() -> None:
    async with rig() as api:
        await api.post("/v1/secrets", {"name": "s0", "value": "value 0"})
        await api.post("/v1/secrets", {"name": "s0", "value": "newer 0"})
        async with beside(api, keys=BOTH) as second:
            await second.post("/v1/secrets/rekey")
        async with beside(api, keys=given("", (*MASTER_KEYS, NEW, THIRD))) as third:
            done = (await third.post("/v1/secrets/rekey")).body
            assert [(each["id"], each["position"]) for each in done["unneeded"]] == [(OLD_ID, 1), (NEW_ID, 2)]
            await holds(third, 1)
        async with beside(api, keys=given("", (THIRD,))) as last:
            await holds(last, 1)
