"""Who an agent is to a registry, and whom a container runs as: read from what others wrote."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import login
from agents.container_user import NoSuchUser, User, named, plain
from agents.login import Login

PASSWD = "root:x:0:0:root:/root:/bin/sh\nshop:x:1234:1235::/:/bin/sh\n\nbroken\nodd:x:y:z\n"
GROUP = "root:x:0:\nstaff:x:50:shop\n"


@pytest.mark.parametrize(
    ("secret", "user", "password"),
    [
        (b"robot:secret", "robot", "secret"),
        (b"robot:se:cr:et\n", "robot", "se:cr:et"),
        (b'{"username": "robot", "password": "secret", "email": "x"}', "robot", "secret"),
        (b' {"username": "r", "password": "a\\u0020b"}\n', "r", "a b"),
    ],
)
def test_read(secret: bytes, user: str, password: str) -> None:
    assert login.read(secret) == Login(user, password)


@pytest.mark.parametrize(
    "secret",
    [
        b"",
        b"hunter2",
        b"robot:",
        b":hunter2",
        b"{",
        b'{"username": "hunter2"}',
        b'{"auth": "hunter2"}',
        b"\xff:hunter2",
        b"[]",
    ],
)
def test_what_is_no_login_is_refused_without_being_told(secret: bytes) -> None:
    with pytest.raises(ValueError, match="user:password") as refused:
        login.read(secret)
    assert "hunter2" not in str(refused.value)


@given(st.binary(max_size=40))
def test_nothing_else_comes_of_it(secret: bytes) -> None:
    try:
        found = login.read(secret)
    except ValueError:
        return
    assert found.username
    assert found.password


def test_the_header_is_what_engines_read_and_nothing_shows_the_password() -> None:
    who = Login("robot", "secret")
    assert json.loads(base64.urlsafe_b64decode(who.header)) == {"username": "robot", "password": "secret"}
    assert "secret" not in repr(who)


@pytest.mark.parametrize(
    ("said", "user"),
    [
        ("", User(0, 0)),
        ("root", User(0, 0)),
        ("shop", User(1234, 1235)),
        ("1234", User(1234, 1235)),
        ("1000", User(1000, 0)),
        ("1000:1001", User(1000, 1001)),
        ("shop:staff", User(1234, 50)),
        ("shop:7", User(1234, 7)),
    ],
)
def test_a_user_in_numbers(said: str, user: User) -> None:
    assert (plain(said) or named(said, PASSWD, GROUP)) == user


@pytest.mark.parametrize("said", ["nobody", "odd", "shop:nobody", "broken"])
def test_a_user_who_is_not_there_is_named(said: str) -> None:
    with pytest.raises(NoSuchUser, match=said.rpartition(":")[2]):
        named(said, PASSWD, GROUP)


@pytest.mark.parametrize("number", ["2147483648", "4294967295", "9" * 30, "9" * 5000])
def test_a_number_that_no_file_can_be_given_to_is_nobodys(number: str) -> None:
    assert plain(f"{number}:{number}") is None
    with pytest.raises(NoSuchUser):
        named(number, "", "")
    with pytest.raises(NoSuchUser):
        named("app", f"app:x:{number}:0:", "")
    with pytest.raises(NoSuchUser):
        named(f"1:{number}", "", "")
