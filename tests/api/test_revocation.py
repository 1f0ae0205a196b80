"""What is taken away is gone on every process: real ones, over one Postgres, with streams and long polls open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

import httpx2
import pytest

from eventstore.__main__ import main as eventstore
from tests import servers
from tests.api.process import Api, Watcher, api, watch
from tests.waiting import eventually, until

pytestmark = pytest.mark.timeout(180)

PASSWORD: Final = "correct horse battery"
SOON: Final = 5.0  # seconds for requests
OPEN: Final = 30.0  # for what is open


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, postgres_server: str) -> Iterator[tuple[Api, Api, str]]:
    """Two processes, and the database that they share."""
    folder = tmp_path_factory.mktemp("revocation")
    with servers.database(postgres_server) as dsn, api(folder, dsn) as one, api(folder, dsn) as two:
        yield one, two, dsn


def status(process: Api, token: str) -> int:
    """Ask as somebody."""
    return httpx2.get(f"{process.url}/v1/jobs", headers={"Authorization": f"Bearer {token}"}).status_code


class Person:
    """A user who is logged in, at both processes, with a long poll open at each."""

    def __init__(self, pair: tuple[Api, Api, str], name: str) -> None:
        self.one, self.two, self.dsn = pair
        self.name = name
        user = {"name": name, "password": PASSWORD, "roles": ["viewer"], "namespaces": ["*"]}
        self.one.ask("POST", "/v1/acl/users", user, status=201)
        self.first, self.second = self.login(), self.login()

    def login(self) -> dict[str, str]:
        """Log in once more."""
        credentials = {"username": self.name, "password": PASSWORD}
        return dict(self.two.ask("POST", "/v1/auth/login", credentials, token=""))

    async def polls(self, token: str) -> list[Watcher]:
        """Open a long poll at each process."""
        index = {"Authorization": f"Bearer {token}"}
        opened = []
        for process in (self.one, self.two):
            assert status(process, token) == 200
            where = f"/v1/jobs?index={process.index('/v1/jobs')}&wait=10m"
            opened += await watch(process, where, 1, index)
        await asyncio.sleep(0)
        return opened


async def answers(polls: list[Watcher]) -> set[int]:
    """Wait until all polls are answered, with what; and hang up."""
    async with asyncio.timeout(OPEN):
        await asyncio.gather(*(poll.answered.wait() for poll in polls))
    for poll in polls:
        poll.reset()
    await asyncio.gather(*(poll.closed.wait() for poll in polls))
    return {poll.status for poll in polls}


Ending = Callable[[Person], object]


def _logout(person: Person) -> None:
    person.two.ask("POST", "/v1/auth/logout", token=person.first["token"])


def _set_password(person: Person) -> None:
    person.one.ask("PUT", f"/v1/acl/users/{person.name}/password", {"password": "another one of mine"})


def _own_password(person: Person) -> None:
    body = {"current": PASSWORD, "new": "another one of mine"}
    person.two.ask("POST", "/v1/acl/self/password", body, token=person.second["token"])


def _delete(person: Person) -> None:
    person.one.ask("DELETE", f"/v1/acl/users/{person.name}")


def _demote(person: Person) -> None:
    person.one.ask("PUT", f"/v1/acl/users/{person.name}", {"roles": []})


def _offline(person: Person) -> None:
    assert eventstore(["reset-password", "--dsn", person.dsn, "--user", person.name]) == 0


def _stolen(person: Person) -> None:
    first = person.first["refresh_token"]
    second = person.two.ask("POST", "/v1/auth/refresh", token=first)["refresh_token"]
    person.one.ask("POST", "/v1/auth/refresh", token=second)
    person.two.ask("POST", "/v1/auth/refresh", token=first, status=401)


ENDINGS: Final = [_logout, _set_password, _own_password, _delete, _demote, _offline, _stolen]


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.__name__[1:])
async def test_it_reaches_every_process_and_what_is_open(pair: tuple[Api, Api, str], ending: Ending) -> None:
    person = await asyncio.to_thread(Person, pair, f"user{ending.__name__.replace('_', '-')}")
    token = person.first["token"]
    polls = await person.polls(token)
    await asyncio.to_thread(ending, person)
    gone = 403 if ending is _demote else 401

    def everywhere() -> bool:
        return {status(process, token) for process in (person.one, person.two)} == {gone}

    await eventually(lambda: asyncio.to_thread(everywhere), timeout=SOON, what="the end of the token")
    assert await answers(polls) == {gone}


async def test_who_changes_the_password_stays_logged_in_and_nobody_else(pair: tuple[Api, Api, str]) -> None:
    person = await asyncio.to_thread(Person, pair, "keeper")
    await asyncio.to_thread(_own_password, person)
    until(lambda: status(person.one, person.first["token"]) == 401, timeout=SOON)
    for process in (person.one, person.two):
        assert status(process, person.second["token"]) == 200
    kept = await asyncio.to_thread(person.one.ask, "POST", "/v1/auth/refresh", token=person.second["refresh_token"])
    assert status(person.two, kept["token"]) == 200
    person.one.ask("POST", "/v1/auth/refresh", token=person.first["refresh_token"], status=401)


async def test_a_key_that_was_stolen_ends_everywhere(pair: tuple[Api, Api, str]) -> None:
    """The last of these tests: it ends the logins of the others, too."""
    person = await asyncio.to_thread(Person, pair, "victim")
    polls = await person.polls(person.first["token"])
    person.one.ask("POST", "/v1/acl/keys/rotate", {})
    assert status(person.two, person.login()["token"]) == 200
    assert status(person.two, person.first["token"]) == 200, "a rotation logs nobody out"
    person.one.ask("POST", "/v1/acl/keys/rotate", {"end_sessions": True})
    until(lambda: status(person.two, person.first["token"]) == 401, timeout=SOON)
    assert await answers(polls) == {401}
    for process in (person.one, person.two):
        process.token = process.login()
        assert process.ask("GET", "/v1/jobs") == []
