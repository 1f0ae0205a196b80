"""The signing keys: made once, known everywhere, rotated without logging anybody out, and never guessable."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
import re
import secrets
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.__main__ import main
from api.keys import FileKeys, Keyring, VaultKeys, keyring
from api.tokens import LIFE, MARGIN, Claims, SigningKey
from eventstore.log import LogUnavailable
from eventstore.sessions import LIFE as SESSION_LIFE
from eventstore.sessions import MemorySessions
from eventstore.strength import weakness
from eventstore.vault import Kept, MemoryVault
from heroctl.domain.errors import Conflict, Unauthenticated, Unavailable
from tests import house
from tests.api.rig import EPOCH

CLAIMS: Final = Claims("admin", "5" * 32, int(EPOCH), int(EPOCH) + LIFE, int(EPOCH) + LIFE, "1" * 16)

# ── what is no key ───────────────────────────────────────────────────────────────────────────────────────────────────

WEAK: Final = [
    b"",
    b"secret",
    b"x" * 31,
    b"x" * 32,
    b"\0" * 64,
    b"\xff" * 32,
    b"secret" * 10,
    b"SuperSecretKeyThatNobodyWillEverGuess!",
    b"your-256-bit-secret-your-256-bit-secret",
    b"a-string-secret-at-least-256-bits-long",
    b"changemechangemechangemechangeme",
    b"correct-horse-heroctl-battery-staple-1",
    b"heroctl-signing-key-for-production-2026",
    b"0123456789abcdef" * 4,
    b"abcdefghijklmnopqrstuvwxyz0123456789",
    b"1234567890123456789012345678901234567890",
    bytes(range(32)),
    bytes(range(64, 0, -1)),
    bytes(range(0, 96, 3)),
    b"ab" * 16,
    b"a" * 20 + b"b" * 20,
    b"0" * 63 + b"1",
    hashlib.sha256(b"secret").digest(),
    hashlib.sha256(b"password").hexdigest().encode(),
    hashlib.sha512(b"admin").hexdigest().upper().encode(),
    hashlib.sha256(b"").hexdigest().encode(),
    b"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    base64.urlsafe_b64decode(
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow=="
    ),
]


@pytest.mark.parametrize("key", WEAK, ids=lambda key: key[:12].hex())
def test_what_can_be_guessed_is_no_key(key: bytes) -> None:
    assert weakness(key)


@given(st.integers(0, 2**64), st.integers(32, 64))
def test_random_bytes_are_a_key_however_they_are_spelled(seed: int, size: int) -> None:
    raw = random.Random(seed).randbytes(size)
    for key in (raw, raw.hex().encode(), base64.b64encode(raw)):
        assert weakness(key) is None


def test_no_page_prints_a_key_that_would_be_taken() -> None:
    """Whoever copies an example must hear that it is one."""
    pages = [*(house.ROOT / "docs").rglob("*.md"), *(house.ROOT / "examples").iterdir(), house.ROOT / "README.md"]
    key = re.compile(r"signing.key\S*\s*[=:]?\s*[\"']?([\w+/=-]{32,})", re.IGNORECASE)
    for page in pages:
        for found in key.findall(page.read_text()):
            assert weakness(found.encode()), f"{page.name} prints a key: {found}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "there is no key in it"),
        (b"secret\n", "key 1 has 6 bytes, and needs at least 32"),
        (b"admin" * 10, "key 1 follows a pattern"),
        (b"changeme" * 10, "key 1 is made of words"),
        (secrets.token_hex(32).encode() + b"\nshort\n", "key 2 has 5 bytes"),
        (None, "No such file"),
    ],
    ids=["empty", "short", "pattern", "words", "second", "missing"],
)
def test_a_process_does_not_start_with_such_a_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, said: str
) -> None:
    place = tmp_path / "keys"
    if content is not None:
        place.write_bytes(content)
    assert main(["--dsn", "postgresql://127.0.0.1:1/x", "--signing-key-file", str(place)]) == 2
    heard = capsys.readouterr().err
    assert heard.startswith("--signing-key-file: ")
    assert said in heard
    assert content is None or b"secret" not in content or "secret" not in heard


# ── keys in a file ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_line_added_to_the_file_signs_and_one_removed_verifies_no_more(tmp_path: Path) -> None:
    place, one, two = tmp_path / "keys", secrets.token_hex(32), secrets.token_hex(32)
    place.write_text(f"{one}\n")
    ring = await keyring(FileKeys(place), lambda: EPOCH)
    token = ring.keys.sign(CLAIMS)
    place.write_text(f"{one}\n\n{two}\n")
    await ring.look()
    assert [key.secret.decode() for key in ring.keys.all] == [one, two]
    assert await ring.read(token) == CLAIMS
    newer = ring.keys.sign(CLAIMS)
    for broken in ("", "short\n", None):
        place.unlink() if broken is None else place.write_text(broken)
        await ring.look()
        assert await ring.read(newer) == CLAIMS, "what it knew still holds"
    place.write_text(f"{two}\n")
    await ring.look()
    with pytest.raises(Unauthenticated):
        await ring.read(token)
    with pytest.raises(Conflict) as refused:
        await ring.rotate(only=False)
    assert refused.value.code == "keys_in_file"


async def test_another_key_in_the_file_is_told_once_however_often_telling_fails(tmp_path: Path) -> None:
    place, one, two = tmp_path / "keys", secrets.token_hex(32), secrets.token_hex(32)
    place.write_text(f"{one}\n")
    fails: list[Exception] = [LogUnavailable("away"), Unavailable("busy", "busy", retry_after=1)]
    told = list[float]()

    async def tell() -> None:
        if fails:
            raise fails.pop(0)
        told.append(EPOCH)

    ring = await keyring(FileKeys(place), lambda: EPOCH, tell)
    await ring.heed(frozenset())
    await ring.report()
    assert not told, "what it began with is no rotation"
    place.write_text(f"{one}\n{two}\n")
    await ring.heed(frozenset())
    with pytest.raises(LogUnavailable):
        await ring.report()
    for expected in (0, 1, 1):
        await ring.report()
        assert len(told) == expected
    place.write_text(f"{two}\n")
    await ring.heed(frozenset())
    await ring.report()
    assert len(told) == 1, "the same one signs"


# ── keys in the vault ────────────────────────────────────────────────────────────────────────────────────────────────


class Slow(MemoryVault):
    """One in which others come in between."""

    async def all_of(self, kind: str) -> list[Kept]:
        """Read, and let the others read as well."""
        found = await super().all_of(kind)
        await asyncio.sleep(0)
        return found


class Held:
    """A vault whose time is in hand, and its clock since the epoch."""

    def __init__(self) -> None:
        self.now = EPOCH
        self.vault = Slow(self.clock)
        self.source = VaultKeys(self.vault)

    def clock(self) -> float:
        return self.now

    async def ring(self) -> Keyring:
        """What another process knows."""
        return await keyring(self.source, self.clock)


async def test_of_all_who_start_first_everybody_signs_with_one_key() -> None:
    held = Held()
    rings = await asyncio.gather(*(held.ring() for _ in range(8)))
    assert len({ring.keys.all for ring in rings}) == 1
    [key] = rings[0].keys.all
    assert len(key.secret) == 32


async def test_of_several_rotations_at_once_there_is_one_new_key() -> None:
    held = Held()
    rings = [await held.ring() for _ in range(4)]
    await asyncio.gather(*(ring.rotate(only=False) for ring in rings))
    assert {len(ring.keys.all) for ring in rings} == {2}


async def test_an_old_key_stays_until_the_last_of_its_tokens_has_ended() -> None:
    held = Held()
    ring = await held.ring()
    [first] = ring.keys.all
    held.now += 100
    await ring.rotate(only=False)
    assert [key.retired for key in ring.keys.all] == [EPOCH + 100, None]
    held.now += SESSION_LIFE + MARGIN
    await ring.look()
    assert ring.keys.all[0].secret == first.secret
    held.now += 1
    await ring.look()
    assert first.secret not in [key.secret for key in ring.keys.all]
    assert len(await held.vault.all_of("signing_key")) == 1
    await ring.rotate(only=False)
    assert len((await held.ring()).keys.all) == 2, "the numbers go on"


async def test_keys_are_read_again_only_when_the_vault_tells_of_a_change() -> None:
    held = Held()
    ring, other, sessions = await held.ring(), await held.ring(), MemorySessions(held.clock, held.vault)
    read, reads = held.source.read, list[float]()

    async def counted(now: float) -> list[SigningKey]:
        reads.append(now)
        return await read(now)

    held.source.read = counted  # type: ignore[method-assign] # the same, counted
    for _ in range(3):
        await ring.heed((await sessions.standing()).keys)
    assert len(reads) == 1
    await other.rotate(only=True)
    reads.clear()
    for _ in range(3):
        await ring.heed((await sessions.standing()).keys)
    assert (len(reads), ring.keys.all) == (1, other.keys.all)


async def test_a_change_that_could_not_be_read_is_read_the_next_time() -> None:
    held = Held()
    ring, other, sessions = await held.ring(), await held.ring(), MemorySessions(held.clock, held.vault)
    await ring.heed((await sessions.standing()).keys)
    await other.rotate(only=False)
    read, held.source.read = held.source.read, away  # type: ignore[method-assign] # a database that is gone
    with pytest.raises(LogUnavailable):
        await ring.heed((await sessions.standing()).keys)
    held.source.read = read  # type: ignore[method-assign] # and back
    await ring.heed((await sessions.standing()).keys)
    assert ring.keys.all == other.keys.all


async def test_keys_that_vanish_are_made_anew_and_that_is_told() -> None:
    held, told = Held(), list[int]()

    async def tell() -> None:
        told.append(1)

    ring = await keyring(held.source, held.clock, tell)
    await ring.report()
    await held.vault.delete(["signing-key-1"])
    await ring.look()
    await ring.report()
    await ring.report()
    assert (len(told), len(ring.keys.all)) == (1, 1)


async def away(now: float) -> list[SigningKey]:
    raise LogUnavailable(f"away at {now}")


async def test_a_weak_row_is_no_key_and_another_is_made() -> None:
    held = Held()
    await held.vault.keep("signing-key-7", "signing_key", b"secret" * 8)
    await held.vault.keep("signing-key-x", "signing_key", secrets.token_bytes(32))
    [key] = (await held.ring()).keys.all
    assert weakness(key.secret) is None


async def test_whoever_asks_for_a_look_gets_one_that_began_later() -> None:
    held = Held()
    ring = await held.ring()
    reading, go = asyncio.Event(), asyncio.Event()
    read = held.source.read
    reads = 0

    async def slow(now: float) -> list[SigningKey]:
        nonlocal reads
        reads += 1
        found = await read(now)
        reading.set()
        await go.wait()
        return found

    held.source.read = slow  # type: ignore[method-assign] # a database that takes its time
    first = asyncio.ensure_future(ring.look())
    await reading.wait()
    await held.source.rotate(only=False)
    later = [asyncio.ensure_future(ring.look()) for _ in range(50)]
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(first, *later)
    assert (len(ring.keys.all), reads) == (2, 2)


async def test_a_look_that_fails_changes_nothing_and_the_next_may_succeed() -> None:
    held = Held()
    ring = await held.ring()
    read = held.source.read
    held.source.read = away  # type: ignore[method-assign] # a database that is gone
    for _ in range(2):
        with pytest.raises(LogUnavailable):
            await ring.look()
    held.source.read = read  # type: ignore[method-assign] # and back
    await ring.look()
    assert len(ring.keys.all) == 1
