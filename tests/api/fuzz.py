"""Asks every operation of the OpenAPI document with what the document allows, and holds each answer to it.

Schemathesis draws the requests. Words of a path are often those of something that is there, waits are cut short, and
what would lock the caller out is sent by an ACL token that no session and no password ends. What chance does not reach
is in `tests.api.recipes`.
"""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.openapi import document
from api.routes import ROUTES
from api.row import Row
from tests.api import contract

CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
_BRIEF: Final = "10ms"  # of waits
_LONGEST: Final = 30.0  # seconds for an answer


def _unkept() -> requests.Session:
    """Make a session of one connection a request.

    One that idles is closed by the api; a request on its way then would look like one that was never answered.
    """
    session = requests.Session()
    session.headers["Connection"] = "close"
    return session


@dataclass(slots=True)
class Fuzz:
    """One run against one api. `live` gives, for the noun of a path, words that name something."""

    url: str
    token: str
    node: str  # a node's token
    live: dict[str, list[str]] = field(default_factory=dict)
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    session: requests.Session = field(default_factory=_unkept)

    @property
    def asked(self) -> int:
        """How many requests were sent."""
        return sum(self.answers.values())

    def all(self, examples: int) -> None:
        """Ask each operation with so many requests that chance drew."""
        schema = schemathesis.openapi.from_dict(document(ROUTES, "0"))
        for found in schema.get_all_operations():
            operation = found.ok()  # type: ignore[union-attr] # what is no operation fails here
            self._operation(operation, examples)

    def _operation(self, operation: Any, examples: int) -> None:  # noqa: ANN401 - the library's
        @settings(
            max_examples=examples,
            database=None,
            derandomize=True,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
            verbosity=Verbosity.quiet,
        )
        @given(operation.as_strategy(), st.integers(0, 2**16))
        def ask(case: Any, chance: int) -> None:  # noqa: ANN401 - the library's
            self._case(case, chance)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library's own, about its strategies
            ask()

    def _case(self, case: Any, chance: int) -> None:  # noqa: ANN401 - the library's
        row = row_of(case.method, case.operation.path)
        self._tame(case)
        nouns = [before for before, word in itertools.pairwise(row.words) if word.startswith("{")]
        words = self.live.get(nouns[0], []) if nouns else []
        if case.path_parameters and words and chance % 3 and row.method != "DELETE":  # others need it
            case.path_parameters = dict.fromkeys(case.path_parameters, words[chance % len(words)])
        token = self.node if row.access.kind == "node" else self.token
        headers = {} if row.access.kind == "public" else {"Authorization": f"Bearer {token}"}
        reply = case.call(base_url=self.url, session=self.session, headers=headers, timeout=_LONGEST)
        raw = reply.content
        self.answers[case.operation.label, reply.status_code] += 1
        told = {name.lower(): ", ".join(values) for name, values in reply.headers.items()}
        fault = contract.broken(row, reply.status_code, told, raw)
        assert not fault, f"{fault}\n{case.as_curl_command()}"
        assert reply.status_code < 500, f"{raw!r}\n{case.as_curl_command()}"
        case.validate_response(reply, checks=CHECKS)

    def _tame(self, case: Any) -> None:  # noqa: ANN401 - the library's
        if case.query and ("index" in case.query or "wait" in case.query):
            case.query["wait"] = _BRIEF
        if case.query and str(case.query.get("stream")).lower() == "true":
            del case.query["stream"]  # it has no end; tests of their own follow it
        if isinstance(case.body, dict) and isinstance(case.body.get("wait"), int | float):
            case.body["wait"] = 0
        if case.headers:
            for name in [name for name in case.headers if name.lower() in ("authorization", "x-heroctl-token")]:
                del case.headers[name]

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:  # noqa: ANN401 - of requests
        """Ask as told, and hold the answer to the document. `token`: the admin's unless given; empty: none."""
        token = more.pop("token", self.token)
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **more.pop("headers", {})}
        reply = self.session.request(method, self.url + path, headers=headers, timeout=_LONGEST, **more)
        row = contract.row_of(method, path.partition("?")[0])
        assert row is not None, path
        self.answers[f"{method} {row.path}", reply.status_code] += 1
        told = {name.lower(): value for name, value in reply.headers.items()}
        fault = contract.broken(row, reply.status_code, told, reply.content)
        assert not fault, fault
        return reply

    def successes(self) -> Counter[str]:
        """Count the answers of each operation that were no refusals."""
        made: Counter[str] = Counter({f"{row.method} {row.path}": 0 for row in ROUTES if row.meet is None})
        for (label, status), count in self.answers.items():
            if label in made:
                made[label] += count if status < 300 else 0
        return made


def row_of(method: str, path: str) -> Row:
    """Find the row of an operation."""
    return next(row for row in ROUTES if (row.method, row.path) == (method.upper(), path))


def filled(row: Row, word: str) -> str:
    """Give a row's path with a word in each placeholder's place."""
    return "/".join(quote(word, safe="") if each.startswith("{") else each for each in row.words)
