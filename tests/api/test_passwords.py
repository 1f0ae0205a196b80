"""Passwords: hashed in few threads, as slowly for nobody as for somebody, and as well as we know today."""

from __future__ import annotations

import asyncio
import threading

import pytest
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from api.passwords import AT_ONCE
from eventstore import passwords
from heroctl.domain.errors import Unavailable
from tests.api.rig import PASSWORD, Reply, Rig
from tests.waiting import eventually


async def log_in(api: Rig) -> Reply:
    return await api.post("/v1/auth/login", {"username": "admin", "password": PASSWORD}, token="")


def test_what_nobody_knows_is_compared_as_if_somebody_did() -> None:
    unknown = passwords.unknown()
    assert not passwords.outdated(unknown)
    assert [len(part) for part in unknown.split(b"$")] == [len(part) for part in passwords.hashed("x").split(b"$")]
    assert not passwords.fits(unknown, "x")
    with pytest.raises(VerifyMismatchError):  # it was computed: what cannot be read is another error
        PasswordHasher().verify(unknown, "x")


async def test_an_unknown_user_costs_a_hash_as_well(api: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    fits = passwords.fits

    def counted(kept: bytes, password: str) -> bool:
        seen.append(kept)
        return fits(kept, password)

    monkeypatch.setattr(passwords, "fits", counted)
    await api.post("/v1/auth/login", {"username": "nobody", "password": "x"}, token="")
    assert len(seen) == 1
    assert seen[0].startswith(b"$argon2id$v=19$m=19456,t=2,p=1$")


async def test_a_hash_of_other_days_is_renewed_by_the_next_login(api: Rig) -> None:
    """Sessions begun before stay: it is the same password."""
    weaker = PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash(PASSWORD).encode()
    row = api.parts.view.state.users["admin"].credential
    kept = await api.parts.vault.get(row)
    assert kept is not None
    await api.parts.vault.renew(row, kept, weaker)
    wrong = await api.post("/v1/auth/login", {"username": "admin", "password": "wrong"}, token="")
    assert (wrong.status, await api.parts.vault.get(row)) == (401, weaker)
    assert (await log_in(api)).status == 200
    renewed = await api.parts.vault.get(row)
    assert renewed is not None
    assert renewed.startswith(b"$argon2id$v=19$m=19456,t=2,p=1$")
    assert (await log_in(api)).status == 200
    assert await api.parts.vault.get(row) == renewed
    assert (await api.get("/v1/jobs")).status == 200


async def test_four_threads_hash_however_many_log_in_or_give_up(api: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    running, most, lock, go = 0, 0, threading.Lock(), threading.Event()

    def slow(kept: bytes, password: str) -> bool:
        nonlocal running, most
        del kept, password
        with lock:
            running += 1
            most = max(most, running)
        go.wait(30)
        with lock:
            running -= 1
        return False

    monkeypatch.setattr(passwords, "fits", slow)
    tries = [asyncio.ensure_future(api.parts.passwords.match(b"", "x")) for _ in range(40)]
    await eventually(lambda: running == AT_ONCE)
    for gone in tries[:20]:  # their clients have left; a thread cannot be stopped
        gone.cancel()
    tries += [asyncio.ensure_future(api.parts.passwords.match(b"", "x")) for _ in range(20)]
    await asyncio.sleep(0)
    assert running == AT_ONCE
    go.set()
    await asyncio.gather(*tries, return_exceptions=True)
    assert most == AT_ONCE


async def test_too_many_logins_at_once_are_told_to_come_back(api: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    monkeypatch.setattr(passwords, "fits", lambda _kept, _password: go.wait(30))
    tries = [asyncio.ensure_future(api.parts.passwords.match(b"", "x")) for _ in range(100)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable) as refused:
        await api.parts.passwords.match(b"", "x")
    assert (refused.value.code, refused.value.retry_after) == ("busy", 2)
    go.set()
    await asyncio.gather(*tries)
