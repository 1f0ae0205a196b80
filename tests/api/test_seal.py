"""Sealing: what is sealed opens at its own place, under its own key, and nowhere else; keys are proven at the start."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given as drawn
from hypothesis import strategies as st
from msgspec import structs

from api.settings import Settings
from eventstore.master import MASTER_KEY, Master, Read, WrongKeys, given
from eventstore.seal import MasterKey, NoKey, Place, Unopened, key_of, keys_of, open_sealed, rewrap, seal
from eventstore.vault import MemoryVault
from heroctl.domain.errors import Conflict, Unavailable
from heroctl.domain.settings import SettingsError

HOME: Final = Place("row-1", "default", "db_password", 3)
SEALS: Final = 100_000


def fresh() -> MasterKey:
    return MasterKey(os.urandom(32))


KEY: Final = fresh()


@drawn(st.binary(max_size=5000), st.text(max_size=80), st.integers(1, 10**6))
def test_what_is_sealed_opens_again(value: bytes, name: str, version: int) -> None:
    place = Place("row", "default", name, version)
    sealed = seal(KEY, place, value)
    assert open_sealed([fresh(), KEY], place, sealed) == value
    assert key_of(sealed) == KEY.id
    assert len(value) < 8 or value not in sealed


@pytest.mark.parametrize(
    "elsewhere",
    [
        HOME._replace(row="row-2"),
        HOME._replace(namespace="shop"),
        HOME._replace(name="db_passwor"),
        HOME._replace(version=4),
        Place("row-1", "defaultdb_password", "", 3),
        Place("row-1", "", "defaultdb_password", 3),
    ],
    ids=lambda place: "/".join(map(str, place)),
)
def test_a_row_that_was_copied_to_another_place_does_not_open(elsewhere: Place) -> None:
    sealed = seal(KEY, HOME, b"s3nh@-forte")
    with pytest.raises(Unopened):
        open_sealed([KEY], elsewhere, sealed)
    assert open_sealed([KEY], HOME, sealed) == b"s3nh@-forte"


def test_no_byte_of_it_may_change_and_nothing_may_be_cut_or_mixed() -> None:
    sealed, other = seal(KEY, HOME, b"s3nh@-forte"), seal(KEY, HOME, b"another-one")
    for at in range(len(sealed)):
        with pytest.raises(Unopened):
            open_sealed([KEY], HOME, sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :])
    for end in range(len(sealed)):
        with pytest.raises(Unopened):
            open_sealed([KEY], HOME, sealed[:end])
    front = len(sealed) - len(b"s3nh@-forte") - 12 - 16
    with pytest.raises(Unopened):
        open_sealed([KEY], HOME, sealed[:front] + other[front:])


def test_under_another_key_nothing_opens_and_the_key_is_named() -> None:
    sealed = seal(KEY, HOME, b"s3nh@-forte")
    with pytest.raises(NoKey, match=KEY.id):
        open_sealed([fresh()], HOME, sealed)
    other = fresh()
    forged = other.head + sealed[len(other.head) :]
    with pytest.raises(Unopened):
        open_sealed([other, KEY], HOME, forged)


def test_rewrapping_changes_the_front_and_leaves_the_value() -> None:
    sealed, new = seal(KEY, HOME, b"s3nh@-forte"), fresh()
    turned = rewrap([KEY], new, HOME.row, sealed)
    assert key_of(turned) == new.id
    assert open_sealed([new], HOME, turned) == b"s3nh@-forte"
    assert turned[-30:] == sealed[-30:]
    with pytest.raises(NoKey):
        open_sealed([KEY], HOME, turned)
    with pytest.raises(Unopened):
        rewrap([KEY], new, "row-2", sealed)


def test_no_two_seals_share_a_key_and_a_nonce(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each value has a data key of its own: there is no second nonce under it, whatever the number of seals.

    Data keys are all sealed with one key, under 96 random bits: of a million two are alike with a chance of 2^-57.
    """
    data_keys: set[bytes] = set()

    def watched(key: bytes) -> AESGCM:
        assert key not in data_keys, "a data key was drawn twice"
        data_keys.add(key)
        return AESGCM(key)

    monkeypatch.setattr("eventstore.seal.AESGCM", watched)
    nonces = {seal(KEY, HOME, b"")[9:21] for _ in range(SEALS)}
    assert len(nonces) == len(data_keys) == SEALS


def test_what_is_sealed_twice_is_never_alike() -> None:
    assert len({seal(KEY, HOME, b"same") for _ in range(100)}) == 100


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def line(secret: bytes) -> bytes:
    return base64.b64encode(secret)


GOOD: Final = bytes(range(0, 256, 8)) + os.urandom(8)


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        ([line(os.urandom(31))], "key 1 has 31 bytes, and needs at least 32"),
        ([line(os.urandom(32)), b"!" * 44], "key 2 is not base64"),
        ([line(b"\0" * 32)], "key 1 follows a pattern"),
        ([line(b"heroctl-master-key-of-production!")], "key 1 is made of words"),
        ([b"c2VjcmV0"], "key 1 has 6 bytes"),
    ],
)
def test_a_key_that_is_none_is_told_without_repeating_it(lines: list[bytes], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong) as error:
        keys_of(lines)
    assert lines[-1].decode() not in str(error.value)


def test_a_key_that_stands_twice_is_refused_and_longer_ones_are_taken() -> None:
    one, two = os.urandom(32), os.urandom(64)
    assert len(keys_of([line(one), line(two)])) == 2
    with pytest.raises(ValueError, match="key 2 stands there twice"):
        keys_of([line(one), line(one)])


def test_settings_take_a_file_or_words_and_say_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    words = (line(os.urandom(32)).decode(), line(os.urandom(32)).decode())
    file.write_text("\n".join(words) + "\n\n")
    settings = Settings(dsn="x", secrets_key_file=str(file))
    assert [key.id for key in given(settings.secrets_key_file, ())()] == [key.id for key in given("", words)()]
    with pytest.raises(SettingsError, match="one of them"):
        Settings(dsn="x", secrets_key_file=str(file), secrets_keys=words)
    with pytest.raises(SettingsError, match=r"HEROCTL_SECRETS_KEYS: key 1 is not base64\. `openssl rand -base64 32`"):
        Settings(dsn="x", secrets_keys=("!",))
    with pytest.raises(SettingsError, match="No such file"):
        Settings(dsn="x", secrets_key_file=str(tmp_path / "nothing"))
    file.write_text("\n")
    with pytest.raises(SettingsError, match="there is no key in it"):
        Settings(dsn="x", secrets_key_file=str(file))
    assert all(word not in repr(structs.asdict(Settings(dsn="x"))) for word in words)


def of(*keys: MasterKey) -> Read:
    return lambda: keys


async def test_the_first_key_is_the_clusters_and_another_one_is_an_error_at_the_start() -> None:
    vault, one, other = MemoryVault(), fresh(), fresh()
    await Master(vault, of(one)).begin()
    await Master(vault, of(one)).begin()
    with pytest.raises(WrongKeys, match=f"sealed with master key {one.id}, and this process has {other.id}"):
        await Master(vault, of(other)).begin()
    await Master(vault, of(one, other)).begin()
    assert [row.key for row in await Master(vault, of(one)).in_use()] == [one.id], "a new one waits for the rekey"


async def test_of_two_first_keys_one_is_the_clusters() -> None:
    vault, one, other = MemoryVault(), fresh(), fresh()
    first, second = Master(vault, of(one)), Master(vault, of(other))
    await second._use(other, [])  # it was faster by a moment
    await first._use(one, [])
    with pytest.raises(WrongKeys):
        await first.begin()
    await second.begin()


async def test_a_row_that_says_a_key_is_used_and_was_made_by_none_is_an_error_at_the_start() -> None:
    vault = MemoryVault()
    await vault.keep("master-key-1", MASTER_KEY, KEY.head + os.urandom(100))
    with pytest.raises(WrongKeys, match="row master-key-1"):
        await Master(vault, of(KEY)).begin()


async def test_without_a_key_it_starts_as_long_as_nothing_is_sealed() -> None:
    vault = MemoryVault()
    without = Master(vault, of())
    await without.begin()
    with pytest.raises(Unavailable, match="--secrets-key-file") as refusal:
        without.need()
    assert (refusal.value.status, refusal.value.code) == (503, "secrets_not_configured")
    master = Master(vault, of(KEY))
    await master.begin()
    await without.begin()
    row = await master.seal("default", "db", 1, b"x")
    with pytest.raises(WrongKeys, match="has secrets, and this process has no master key"):
        await without.begin()
    await vault.delete([row])
    await without.begin()


async def test_a_lost_key_is_said_and_what_it_sealed_is_lost_alone() -> None:
    vault, lost, new = MemoryVault(), fresh(), fresh()
    old = Master(vault, of(lost))
    await old.begin()
    row = await old.seal("default", "db", 1, b"x")
    master = Master(vault, of(new), (lost.id,))
    await master.begin()
    with pytest.raises(Conflict) as refusal:
        await master.open(Place(row, "default", "db", 1))
    assert refusal.value.code == "secret_lost"
    fresh_row = await master.seal("default", "db", 2, b"y")
    assert await master.open(Place(fresh_row, "default", "db", 2)) == b"y"
    await Master(vault, of(), (lost.id, new.id)).begin()


async def test_an_older_copy_of_the_vault_has_its_key_said_anew() -> None:
    vault = MemoryVault()
    master = Master(vault, of(KEY))
    await master.begin()
    await vault.delete([row.id for row in await vault.all_of(MASTER_KEY)])
    row = await master.seal("default", "db", 1, b"x")
    assert [row.key for row in await master.in_use()] == [KEY.id]
    assert await master.open(Place(row, "default", "db", 1)) == b"x"


async def test_a_key_that_comes_into_its_file_is_found_when_it_is_missed() -> None:
    vault, one, two = MemoryVault(), fresh(), fresh()
    has = [one]
    here, there = Master(vault, lambda: tuple(has)), Master(vault, of(one, two))
    await here.begin()
    await there.turn()
    row = await there.seal("default", "db", 1, b"x")
    with pytest.raises(Unavailable, match=f"lacks master key {two.id}") as refusal:
        await here.open(Place(row, "default", "db", 1))
    assert refusal.value.code == "secrets_key_missing"
    with pytest.raises(Unavailable, match=two.id):
        await here.seal("default", "db", 2, b"x")
    has.append(two)
    assert await here.open(Place(row, "default", "db", 1)) == b"x"
    assert key_of(await vault.get(await here.seal("default", "db", 2, b"x")) or b"") == two.id


async def test_what_is_sealed_while_the_key_turns_is_under_the_new_one() -> None:
    """The rekey passes by between choosing a key and keeping the row: nothing stays behind under the old one."""
    one, two = fresh(), fresh()

    class Turning(MemoryVault):
        async def keep(self, identity: str, kind: str, data: bytes) -> bytes:
            if kind == "secret":
                await other.turn()
            return await super().keep(identity, kind, data)

    vault = Turning()
    master, other = Master(vault, of(one, two)), Master(vault, of(one, two))
    await master._use(one, [])
    row = await master.seal("default", "db", 1, b"x")
    assert key_of(await vault.get(row) or b"") == two.id
    assert await other.open(Place(row, "default", "db", 1)) == b"x"
