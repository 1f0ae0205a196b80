"""Manners that only a real server can have: what it adds to an answer, and what becomes of one without a body."""

from __future__ import annotations

import gzip
import http.client
from pathlib import Path

import pytest

from tests.api.process import api
from tests.api.specs import spec

pytestmark = pytest.mark.timeout(120)


def test_a_real_server_keeps_them(postgres_dsn: str, tmp_path: Path) -> None:
    with api(tmp_path, postgres_dsn) as made:
        for number in range(8):
            made.ask("POST", "/v1/jobs", spec(f"job-{number}"), status=201)
        host, _, port = made.url.partition("://")[2].partition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        sizes = {}
        for method, path, accept in (
            ("GET", "/v1/jobs", ""),
            ("HEAD", "/v1/jobs", ""),
            ("OPTIONS", "/v1/jobs", ""),
            ("GET", "/v1/jobs", "gzip"),
            ("HEAD", "/v1/jobs", "gzip"),
            ("GET", "/v1/jobs", "gzip"),
        ):  # over one connection: a body too many or too few would spoil the next answer
            connection.request(
                method, path, headers={"Authorization": f"Bearer {made.token}", "Accept-Encoding": accept}
            )
            reply = connection.getresponse()
            raw = reply.read()
            assert reply.status == (204 if method == "OPTIONS" else 200)
            assert not [character for character in reply.headers.get("server", "") if character.isdigit()]
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert (raw == b"") == (method != "GET")
            if method == "GET":
                sizes[accept] = len(raw)
                assert len(gzip.decompress(raw) if accept else raw) == sizes[""]
        assert sizes["gzip"] < sizes[""] / 2
        connection.close()
