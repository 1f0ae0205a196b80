"""Master keys over real processes: one that lacks the key says so and does not start; a new one needs no restart."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from eventstore.seal import keys_of
from tests.api.process import Api, api
from tests.e2e.parts import Part
from tests.servers import free_port


def key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def identity(word: str) -> str:
    return keys_of([word.encode()])[0].id


def started(folder: Path, dsn: str, **environ: str) -> tuple[int, str]:
    """Start an api that is to end by itself; give its exit code and what it said."""
    part = Part("refusing", "api", ("--dsn", dsn, "--listen", f"127.0.0.1:{free_port()}"), folder, environ)
    part.start()
    assert not part.lives_for(30), part.tail()
    return part.stop(), part.tail(3)


def put(made: Api, name: str, value: str, status: int = 201) -> None:
    made.ask("POST", "/v1/secrets", {"name": name, "value": value}, status=status)


def test_a_process_that_lacks_the_key_does_not_start_and_says_which(tmp_path: Path, postgres_dsn: str) -> None:
    right, wrong = key(), key()
    with api(tmp_path, postgres_dsn, HEROCTL_SECRETS_KEYS=right) as made:
        put(made, "db", "s3nh@-forte")
    code, said = started(tmp_path, postgres_dsn, HEROCTL_SECRETS_KEYS=wrong)
    assert code == 2
    assert f"sealed with master key {identity(right)}, and this process has {identity(wrong)}" in said
    assert right not in said
    assert wrong not in said
    code, said = started(tmp_path, postgres_dsn)
    assert (code, "has secrets, and this process has no master key" in said) == (2, True)
    code, said = started(tmp_path, postgres_dsn, HEROCTL_SECRETS_KEYS=right[:-4])
    assert (code, "HEROCTL_SECRETS_KEYS: key 1" in said) == (2, True)
    with api(tmp_path, postgres_dsn, HEROCTL_SECRETS_KEYS=f"{right},{wrong}") as made:
        assert made.ask("GET", "/v1/secrets/db")["value"] == "s3nh@-forte"


def test_who_lost_the_key_says_so_and_writes_anew(tmp_path: Path, postgres_dsn: str) -> None:
    lost, new = key(), key()
    with api(tmp_path, postgres_dsn, HEROCTL_SECRETS_KEYS=lost) as made:
        put(made, "db", "gone")
    flags = ("--secrets-lost-key", identity(lost))
    with api(tmp_path, postgres_dsn, "", *flags, HEROCTL_SECRETS_KEYS=new) as made:
        assert made.ask("GET", "/v1/secrets/db", status=409)["error"] == "secret_lost"
        put(made, "db", "anew", status=200)
        assert made.ask("GET", "/v1/secrets/db")["value"] == "anew"


def test_another_key_comes_without_a_restart(tmp_path: Path, postgres_dsn: str) -> None:
    """It is put into the files of all apis, a rekey turns to it, and the old one goes out of them."""
    old, new, files = key(), key(), [tmp_path / "one.key", tmp_path / "two.key"]
    for file in files:
        file.write_text(f"{old}\n")
    first, second = (
        api(tmp_path, postgres_dsn, "", "--secrets-key-file", str(file), HEROCTL_SECRETS_KEYS="") for file in files
    )
    with first as one, second as two:
        put(one, "db", "s3nh@-forte")
        for file in files:
            file.write_text(f"{old}\n{new}\n")
        done = one.ask("POST", "/v1/secrets/rekey", {})
        assert (done["key"], done["rewrapped"], done["done"]) == (identity(new), 1, True)
        assert done["unneeded"] == [{"id": identity(old), "position": 1}]
        for made in (one, two):
            assert made.ask("GET", "/v1/secrets/db", token=one.token)["value"] == "s3nh@-forte"
        for file in files:
            file.write_text(f"{new}\n")
        two.ask("POST", "/v1/secrets", {"name": "later", "value": "x"}, status=201, token=one.token)
        assert one.ask("GET", "/v1/secrets/later")["value"] == "x"
    with api(tmp_path, postgres_dsn, "", "--secrets-key-file", str(files[0]), HEROCTL_SECRETS_KEYS="") as made:
        assert made.ask("GET", "/v1/secrets/db")["value"] == "s3nh@-forte"
