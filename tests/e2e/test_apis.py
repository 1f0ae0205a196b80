"""Several apis over one log, with nothing else running."""

from __future__ import annotations

import concurrent.futures
import selectors
import socket
import time
from collections.abc import Iterator

import pytest

from tests.e2e.client import Client
from tests.e2e.cluster import Cluster, Size, cluster
from tests.e2e.runtimes import Processes
from tests.e2e.specs import job
from tests.waiting import until

POLLS = 1_000


@pytest.fixture(scope="module")
def pair() -> Iterator[Cluster]:
    with cluster(Processes(), Size(apis=2, reconcilers=0, agents=0)) as made:
        yield made


def test_a_write_through_one_wakes_a_long_poll_on_the_other(pair: Cluster) -> None:
    first, second = (Client([url], pair.client.token) for url in pair.client.urls)
    seen = second.get("/v1/jobs")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        waiting = pool.submit(second.get, "/v1/jobs", index=seen.index, wait="20000ms")
        written = first.post("/v1/jobs", job(Processes(), "elsewhere"))
        woken = waiting.result(timeout=20)
    assert "elsewhere" in {each["name"] for each in woken.body}
    assert woken.index >= written.index > seen.index
    assert time.monotonic() - began < 5
    first.close()
    second.close()


def test_a_write_is_read_at_once_through_the_other(pair: Cluster) -> None:
    """The client sends the index it has seen; the other api waits for its view to have it."""
    for number in range(20):
        one = Client(pair.client.urls[number % 2 :][:1], pair.client.token)
        one.post("/v1/jobs", job(Processes(), f"read-{number}"))
        other = Client(pair.client.urls[1 - number % 2 :][:1], pair.client.token)
        other.seen = one.seen
        assert other.get(f"/v1/jobs/read-{number}").body["version"] == 1
        one.close()
        other.close()


def test_sigterm_ends_an_api_with_a_thousand_long_polls_within_five_seconds(pair: Cluster) -> None:
    index = pair.client.get("/v1/jobs").index
    port = int(pair.url(2).rpartition(":")[2])
    head = f"Host: test\r\nAuthorization: Bearer {pair.client.token}\r\n\r\n"
    request = f"GET /v1/jobs?index={index}&wait=5m HTTP/1.1\r\n{head}".encode()
    polls = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(POLLS)]
    try:
        for poll in polls:
            poll.sendall(request)
        # The api answers in turn: once it has answered this, it has read what came before.
        second = Client([pair.url(2)], pair.client.token)
        assert second.get("/v1/jobs").index == index
        second.close()
        assert readable(polls) == 0, "they wait"
        began = time.monotonic()
        assert pair.parts["api-2"].stop(timeout=5) == 0
        assert time.monotonic() - began <= 5
        answers = [poll.recv(12) for poll in polls]
    finally:
        for poll in polls:
            poll.close()
    assert set(answers) == {b"HTTP/1.1 200"}
    pair.parts["api-2"].start()
    until(pair.client.ready, timeout=20)


def readable(polls: list[socket.socket]) -> int:
    with selectors.DefaultSelector() as selector:
        for poll in polls:
            selector.register(poll, selectors.EVENT_READ)
        return len(selector.select(timeout=0))
