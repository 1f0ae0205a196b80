"""A user of the API: one credential, any number of api addresses, long polls instead of waiting."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from tests.waiting import until

INDEX: Final = "X-HeroCtl-Index"
_AWAY: Final = frozenset({502, 503, 504})


@dataclass(frozen=True, slots=True)
class Answer:
    """A body and the index it is of."""

    body: Any
    index: int
    status: int = 200


class RefusedError(AssertionError):
    """The API said no: `status`, and `code`, its word for why."""

    def __init__(self, request: str, status: int, body: object) -> None:
        super().__init__(f"{request}: {status} {body}")
        self.status = status
        self.code = body.get("error", "") if isinstance(body, dict) else ""


class Client:
    """Speaks to the first api that answers. A thing that cannot be answered just now is asked again until `timeout`."""

    def __init__(self, urls: Sequence[str], token: str = "", *, timeout: float = 30) -> None:
        self.urls = list(urls)
        self.token = token
        self.timeout = timeout
        self.seen = 0  # the newest index that any answer carried
        self._http = httpx2.Client(trust_env=False, timeout=httpx2.Timeout(10))

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def login(self, username: str, password: str) -> None:
        """Become this user."""
        self.token = self.post("/v1/auth/login", {"username": username, "password": password}, keyed=False).body[
            "token"
        ]

    def get(self, path: str, **query: object) -> Answer:
        """Read, now or (with `index` and `wait`) when it has changed."""
        return self._patiently("GET", path, None, query, {})

    def post(self, path: str, body: object, *, keyed: bool = True, **query: object) -> Answer:
        """Write. The idempotency key makes it safe to ask again after a broken connection."""
        headers = {"Idempotency-Key": uuid.uuid4().hex} if keyed else {}
        return self._patiently("POST", path, body, query, headers)

    def put(self, path: str, body: object) -> Answer:
        """Set."""
        return self._patiently("PUT", path, body, {}, {})

    def delete(self, path: str, **query: object) -> Answer:
        """Delete."""
        return self._patiently("DELETE", path, None, query, {})

    def wait_until(
        self,
        path: str,
        holds: Callable[[Any], object],
        *,
        timeout: float = 30,
        what: str = "",
        every: float = 600,
        **query: object,
    ) -> Any:  # noqa: ANN401 - JSON
        """Follow a resource by long polls until its body pleases; return that body. 404 reads as None.

        `every`: seconds after which it is read in any case; for what changes without an event.
        """
        deadline = time.monotonic() + timeout
        index, body = 0, None
        while (left := deadline - time.monotonic()) > 0:
            asked = {"index": index, "wait": f"{max(1, int(min(left, every) * 1000))}ms"} if index else {}
            try:
                answer = self.get(path, **query, **asked)
                body, index = answer.body, answer.index
            except RefusedError as refused:
                if refused.status != 404:
                    raise
                body, index = None, 0
            if holds(body):
                return body
        raise AssertionError(f"{what or path} did not come true within {timeout:g} s; last seen: {body}")

    def ready(self) -> bool:
        """Tell whether every api says that it is ready."""
        answers = [self._ask(f"GET {url}/v1/health/ready", None, {}, {}) for url in self.urls]
        return all(answer is not None and answer.status == 200 for answer in answers)

    def _patiently(
        self, method: str, path: str, body: object, query: dict[str, object], headers: dict[str, str]
    ) -> Answer:
        def attempt() -> Answer | None:
            for url in self.urls:
                answer = self._ask(f"{method} {url}{path}", body, query, headers)
                if answer is not None:
                    return answer
            return None

        found = until(attempt, timeout=self.timeout, what=f"an answer to {method} {path}")
        assert found is not None
        if found.status >= 400:
            raise RefusedError(f"{method} {path}", found.status, found.body)
        return found

    def _ask(self, request: str, body: object, query: dict[str, object], headers: dict[str, str]) -> Answer | None:
        """Ask one api; None when it is not there or says that it cannot answer just now."""
        method, _, url = request.partition(" ")
        own = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if self.seen:
            own[INDEX] = str(self.seen)
        slack = httpx2.Timeout(10, read=10 + _seconds(str(query.get("wait", "0ms"))))
        try:
            response = self._http.request(
                method,
                url,
                params={key: str(value) for key, value in query.items()},
                json=body,
                headers={**own, **headers},
                timeout=slack,
            )
        except httpx2.TransportError:
            return None
        if response.status_code in _AWAY:
            return None
        index = int(response.headers.get(INDEX, 0))
        if response.status_code < 400:
            self.seen = max(self.seen, index)
        return Answer(response.json() if response.content else None, index, response.status_code)


def _seconds(milliseconds: str) -> float:
    return int(milliseconds.removesuffix("ms")) / 1000
