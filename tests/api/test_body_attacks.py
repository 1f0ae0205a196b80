"""Bad bodies on every route that takes one: refused as 400 or 413, and the head of the log stays where it is."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Final

import pytest

from api.refusals import told
from api.routes import ROUTES
from api.row import Row
from tests.api.fuzz import filled
from tests.api.rig import Rig
from tests.api.specs import join

TAKING: Final = [row for row in ROUTES if told(row).body is not None]
WIDE: Final = b'{"a":[' + b"[]," * 100_000 + b"[]]}"
ATTACKS: Final[dict[str, bytes]] = {
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "wide": WIDE,
    "huge": b'{"name":"' + b"x" * (1 << 20) + b'"}',
    "NaN": b'{"name":NaN}',
    "Infinity": b'{"name":-Infinity}',
    "too great a number": b'{"name":1e999}',
    "thousands of digits": b'{"name":' + b"7" * 10_000 + b"}",
    "bad UTF-8": b'{"name":"\xff\xfe"}',
    "UTF-16": json.dumps({"name": "a"}).encode("utf-16"),
    "UTF-32": json.dumps({"name": "a"}).encode("utf-32"),
    "half a pair": b'{"name":"\\ud800"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "a NUL": b'{"name":"a\x00"}',
    "two documents": b"{}{}",
    "cut off": b'{"name":"a',
    "a number": b"7",
    "a list": b"[]",
    "a text": b'"name"',
    "gzip without a word": gzip.compress(b'{"name":"a"}'),
}
ENCODED: Final = {"gzip": gzip.compress(b"{}"), "deflate": zlib.compress(b"{}"), "br": b"{}", "gzip, identity": b"{}"}


def name(row: Row) -> str:
    return f"{row.method} {row.path}"


async def token(api: Rig, row: Row) -> str:
    return (await join(api))[1] if row.access.kind == "node" else api.token


@pytest.mark.parametrize("row", TAKING, ids=name)
async def test_a_bad_body_is_refused_and_leaves_no_trace(api: Rig, row: Row) -> None:
    who, path = await token(api, row), filled(row, "nothing")
    before = (await api.log.head()).index
    for attack, content in ATTACKS.items():
        reply = await api.do(row.method, path, content, token=who)
        verdict = row.path == "/v1/jobs/validate" and reply.status == 200 and not reply.body["valid"]
        assert reply.status in (400, 413) or verdict, (attack, reply.status, reply.raw[:200])
    assert (await api.log.head()).index == before


@pytest.mark.parametrize("row", TAKING, ids=name)
async def test_a_compressed_body_is_refused_whatever_is_in_it(api: Rig, row: Row) -> None:
    who, path = await token(api, row), filled(row, "nothing")
    for encoding, content in ENCODED.items():
        reply = await api.do(row.method, path, content, token=who, headers={"content-encoding": encoding})
        assert (reply.status, reply.error) == (400, "unsupported_encoding")


@pytest.mark.parametrize("row", [row for row in TAKING if row.access.kind != "node"], ids=name)
async def test_a_key_that_stands_twice_is_refused(api: Rig, row: Row) -> None:
    reply = await api.do(row.method, filled(row, "nothing"), b'{"name":"a","name":"b"}')
    assert (reply.status, reply.error) == (400, "duplicate_key")


@pytest.mark.parametrize("row", TAKING, ids=name)
async def test_pieces_and_lies_about_the_size_change_nothing(api: Rig, row: Row) -> None:
    who, path = await token(api, row), filled(row, "nothing")
    before = (await api.log.head()).index
    large = b" " * ((1 << 20) + 1)
    for length in ("10", "0", str(len(large)), "x"):
        reply = await api.do(row.method, path, large, token=who, headers={"content-length": length}, chunk=65_536)
        assert (reply.status, reply.error) == (413, "body_too_large")
    whole = await api.do(row.method, path, b'{"nonsense":1}', token=who)
    pieces = await api.do(row.method, path, b'{"nonsense":1}', token=who, chunk=1)
    assert whole.status == pieces.status
    assert (await api.log.head()).index == before
