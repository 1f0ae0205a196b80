"""Which logins are still good: those of the very password or token that they were made by."""

from __future__ import annotations

from typing import Final, NamedTuple

from heroctl.domain.credentials import SPARED, good
from heroctl.domain.events import TokenCreated
from heroctl.domain.intents import access
from tests.domain.worlds import World

SESSION: Final = "0123456789abcdef0123456789abcdef"
OTHER: Final = "fedcba9876543210fedcba9876543210"


class Made(NamedTuple):
    """A login, by a password unless it names a token."""

    credential: str = "row-1"
    token: str = ""
    user: str = "zoe"


def world() -> World:
    made = World()
    made.do(access.create_user(made.state, "admin", ("admin",), "row-admin"))
    made.do(access.create_user(made.state, "zoe", ("viewer",), "row-1"))
    return made


def test_a_login_is_good_with_the_password_that_it_was_made_by() -> None:
    made = world()
    assert good(made.state, Made(), SESSION)
    assert not good(made.state, Made("row-0"), SESSION)
    assert not good(made.state, Made(""), SESSION)
    assert not good(made.state, Made(user="nobody"), SESSION)


def test_another_password_ends_all_logins_but_the_one_that_changed_it() -> None:
    made = world()
    made.do(access.change_password(made.state, "zoe", "row-2", SESSION[:SPARED]))
    assert good(made.state, Made(), SESSION)
    assert not good(made.state, Made(), OTHER)
    assert good(made.state, Made("row-2"), OTHER)
    made.do(access.change_password(made.state, "zoe", "row-3"))
    assert not good(made.state, Made(), SESSION)
    assert not good(made.state, Made(), "")


def test_who_gets_a_name_that_was_free_again_is_not_who_had_it() -> None:
    made = world()
    made.do(access.delete_user(made.state, "zoe"))
    assert not good(made.state, Made(), SESSION)
    made.do(access.create_user(made.state, "zoe", ("viewer",), "row-2"))
    assert not good(made.state, Made(), SESSION)


def test_a_login_by_token_ends_with_the_token_and_with_no_password() -> None:
    made = world()
    made.do(access.create_token(made.state, TokenCreated("t1", "ci", "zoe", ("viewer",), "row-t1")))
    login = Made("", "t1")
    made.do(access.change_password(made.state, "zoe", "row-2"))
    assert good(made.state, login, SESSION)
    made.do(access.delete_token(made.state, "t1"))
    assert not good(made.state, login, SESSION)
