"""What may come as a body: the head of the log must not move for any that is bad, and nobody may cause a 500."""

from __future__ import annotations

import contextlib
import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import body
from heroctl import document
from heroctl.domain.errors import Invalid
from tests.api.rig import Rig
from tests.api.specs import spec

GOOD: Final = json.dumps(spec()).encode()
YAML: Final = b"""
job: web
tasks:
  - name: app
    driver: process
    command: [sleep, "9"]
    env: {MODE: prod}
"""


def nested(depth: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return opening * depth + closing * depth


BAD_JSON: Final[dict[str, tuple[bytes, str]]] = {
    "nothing": (b"", "invalid_json"),
    "no JSON": (b"job: web", "invalid_json"),
    "cut off": (GOOD[:-1], "invalid_json"),
    "trailing": (GOOD + b"x", "invalid_json"),
    "trailing comma": (b'{"job":"web",}', "invalid_json"),
    "single quotes": (b"{'job':'web'}", "invalid_json"),
    "bad UTF-8": (b'{"job":"\xff\xfe"}', "invalid_json"),
    "overlong UTF-8": (b'{"job":"\xc0\xaf"}', "invalid_json"),
    "UTF-16": (GOOD.decode().encode("utf-16"), "invalid_json"),
    "lone surrogate": (b'{"job":"\\ud800"}', "invalid_json"),
    "raw control character": (b'{"job":"a\nb"}', "invalid_json"),
    "NaN": (b'{"job":NaN}', "invalid_json"),
    "Infinity": (b'{"job":-Infinity}', "invalid_json"),
    "too great a number": (b'{"job":1e999}', "invalid_json"),
    "a huge whole number": (b'{"job":' + b"9" * 5000 + b"}", "invalid_json"),
    "duplicate key": (b'{"job":"web","job":"other","tasks":[]}', "duplicate_key"),
    "duplicate key deep down": (b'{"job":"web","tasks":[{"env":{"A":"1","A":"2"}}]}', "duplicate_key"),
    "duplicate key, escaped": (b'{"job":"web","\\u006aob":"other"}', "duplicate_key"),
    "33 levels": (nested(33), "too_deep"),
    "33 levels of objects": (nested(33, b'{"a":', b"}").replace(b'{"a":}', b"{}"), "too_deep"),
    "100,000 levels": (nested(100_000), "too_deep"),
    "half a million levels, open": (b"[" * 500_000, "too_deep"),
    "a list": (b"[]", "invalid_spec"),
    "null": (b"null", "invalid_spec"),
    "a text": (b'"web"', "invalid_spec"),
    "an unknown field": (json.dumps(spec(status="running")).encode(), "invalid_spec"),
    "an index of its own": (json.dumps(spec(index=7)).encode(), "invalid_spec"),
    "a NUL in the name": (json.dumps(spec("we\0b")).encode(), "invalid_spec"),
    "a NUL in the namespace": (json.dumps(spec(namespace="a\0b")).encode(), "invalid_spec"),
    "a path for a name": (json.dumps(spec("../../etc")).encode(), "invalid_spec"),
    "no tasks": (json.dumps({"job": "web"}).encode(), "invalid_spec"),
}
BAD_YAML: Final[dict[str, tuple[bytes, str]]] = {
    "no YAML": (b"job: [", "invalid_yaml"),
    "a tab": (b"job:\n\t- a", "invalid_yaml"),
    "bad UTF-8": (b"job: \xff", "invalid_yaml"),
    "duplicate key": (YAML + b"job: other\n", "duplicate_key"),
    "an alias": (b"a: &a [x]\nb: *a\n", "invalid_yaml"),
    "a merge": (b"a: {b: c}\n<<: {d: e}\n", "invalid_spec"),
    "a Python object": (b"!!python/object/apply:os.system ['true']", "invalid_yaml"),
    "a tag of its own": (b"job: !secret x", "invalid_yaml"),
    "binary": (b"job: !!binary aGk=", "invalid_yaml"),
    "a set": (b"job: !!set {a, b}", "invalid_yaml"),
    "a number as key": (b"1: web", "invalid_yaml"),
    "a list as key": (b"? [a]\n: web", "invalid_yaml"),
    "two documents": (b"job: web\n---\njob: other\n", "invalid_yaml"),
    "not a number": (b"job: .nan", "invalid_yaml"),
    "infinite": (b"job: -.inf", "invalid_yaml"),
    "33 levels": (nested(33), "too_deep"),
    "100,000 levels": (nested(100_000), "too_deep"),
    "an unknown field": (YAML + b"status: running\n", "invalid_spec"),
    "a NUL": (b"job: we\0b", "invalid_yaml"),
    "a number too long": (b"job: " + b"9" * 5000, "invalid_yaml"),
}


async def refused(api: Rig, table: dict[str, tuple[bytes, str]], headers: dict[str, str]) -> dict[str, Any]:
    """Post each; return what came where something else was promised."""
    wrong: dict[str, Any] = {}
    for name, (content, code) in table.items():
        for path in ("/v1/jobs", "/v1/jobs/validate"):
            reply = await api.post(path, content, headers=headers)
            judged = path.endswith("validate") and code == "invalid_spec"
            if (reply.status, reply.body.get("error")) != ((200, None) if judged else (400, code)):
                wrong[f"{path}: {name}"] = (reply.status, reply.body)
    return wrong


@pytest.mark.parametrize("kind", ["", "application/json", "text/plain", "application/x-www-form-urlencoded"])
async def test_bad_json_is_refused_and_leaves_no_trace(api: Rig, kind: str) -> None:
    before = (await api.log.head()).index
    assert await refused(api, BAD_JSON, {"content-type": kind} if kind else {}) == {}
    assert (await api.log.head()).index == before


@pytest.mark.parametrize("kind", ["application/yaml", "application/x-yaml", "text/yaml; charset=utf-8", "Text/YAML"])
async def test_bad_yaml_is_refused_and_leaves_no_trace(api: Rig, kind: str) -> None:
    before = (await api.log.head()).index
    assert await refused(api, BAD_YAML, {"content-type": kind}) == {}
    assert (await api.log.head()).index == before


async def test_a_refused_spec_names_every_problem_with_its_path(api: Rig) -> None:
    bad = spec(task={"count": -1, "replicas": 3}, status="running")
    reply = await api.post("/v1/jobs", bad)
    assert reply.error == "invalid_spec"
    paths = {problem["path"] for problem in reply.body["details"]}
    assert paths >= {"status", "tasks[0].replicas"}


async def test_json_and_yaml_say_the_same(api: Rig) -> None:
    first = await api.post("/v1/jobs", YAML, headers={"content-type": "application/yaml"})
    assert first.status == 201
    same = {
        "job": "web",
        "tasks": [{"name": "app", "driver": "process", "command": ["sleep", "9"], "env": {"MODE": "prod"}}],
    }
    second = await api.post("/v1/jobs", same)
    assert (second.status, second.body["version"]) == (200, 1)


async def test_a_body_is_json_whatever_its_type_says(api: Rig) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/octet-stream", "multipart/form-data"):
        assert (await api.post("/v1/jobs", spec(), headers={"content-type": kind})).status in (200, 201)


async def test_32_levels_are_not_too_deep() -> None:
    assert document.json_of(nested(32)) is not None
    assert document.yaml_of(nested(32)) is not None


async def test_a_body_over_a_mebibyte_is_refused_before_and_while_it_is_read(api: Rig) -> None:
    large = b" " * (body.LARGEST + 1)
    told = await api.post("/v1/jobs", large)
    assert (told.status, told.error) == (413, "body_too_large")
    untold = await api.post(
        "/v1/jobs", large, headers={"content-length": "x", "transfer-encoding": "chunked"}, chunk=65_536
    )
    assert (untold.status, untold.error) == (413, "body_too_large")
    lying = await api.post("/v1/jobs", large, headers={"content-length": "10"}, chunk=65_536)
    assert (lying.status, lying.error) == (413, "body_too_large")


async def test_a_body_of_exactly_a_mebibyte_is_taken(api: Rig) -> None:
    padded = GOOD + b" " * (body.LARGEST - len(GOOD))
    assert (await api.post("/v1/jobs", padded, chunk=10_000)).status == 201


async def test_a_compressed_body_is_refused(api: Rig) -> None:
    reply = await api.post("/v1/jobs", GOOD, headers={"content-encoding": "gzip"})
    assert (reply.status, reply.error) == (400, "unsupported_encoding")


async def test_a_client_that_leaves_while_it_sends_does_no_harm(api: Rig) -> None:
    before = (await api.log.head()).index
    asking = api.ask("POST", "/v1/jobs", GOOD[:20], headers={"content-length": str(len(GOOD))})
    await asking.leave()
    assert (await api.log.head()).index == before


@pytest.mark.parametrize(
    ("path", "content", "where"),
    [
        ("/v1/auth/login", {"username": "a", "password": "b", "role": "admin"}, "role"),
        ("/v1/auth/login", {"username": 1, "password": "b"}, "username"),
        ("/v1/acl/tokens", {"name": "a", "roles": ["viewer"], "secret": "x"}, "secret"),
        ("/v1/acl/tokens", {"name": "a"}, "roles"),
        ("/v1/acl/tokens", {"name": "a", "roles": ["viewer", "emperor"]}, "roles[1]"),
        ("/v1/acl/tokens", {"name": "a", "roles": [7]}, "roles[0]"),
        ("/v1/acl/tokens", {"name": "", "roles": []}, "name"),
        ("/v1/acl/tokens", {"name": "a", "roles": [], "ttl": "soon"}, "ttl"),
        ("/v1/acl/tokens", {"name": "a", "roles": [], "ttl": "0s"}, "ttl"),
        ("/v1/cluster/join-tokens", {"ttl": "-1s"}, "ttl"),
        ("/v1/cluster/join-tokens", {"ttl": "169h"}, "ttl"),
        ("/v1/cluster/join-tokens", {"uses": 5}, "uses"),
        ("/v1/nodes/join", {"token": "x", "name": "Not A Name"}, "name"),
        ("/v1/nodes/join", {"token": "x"}, "name"),
        ("/v1/nodes/x/eligibility", {"eligible": "yes"}, "eligible"),
        ("/v1/nodes/x/eligibility", {}, "eligible"),
        ("/v1/nodes/x/eligibility", {"eligible": True, "why": "x"}, "why"),
        ("/v1/jobs/web/stop", {"force": True}, "force"),
        ("/v1/jobs/web/stop", [], ""),
        ("/v1/auth/logout", {"all": True}, "all"),
    ],
)
async def test_a_wrong_field_is_named_by_its_path(api: Rig, path: str, content: Any, where: str) -> None:  # noqa: ANN401 - JSON
    before = (await api.log.head()).index
    reply = await api.post(path, content)
    assert (reply.status, reply.error) == (400, "invalid_body")
    assert reply.body["details"][0]["path"] == where
    assert (await api.log.head()).index == before


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_what_is_json_is_read_as_the_library_reads_it(value: object) -> None:
    raw = json.dumps(value, ensure_ascii=True)
    assert document.json_of(raw.encode()) == json.loads(raw)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    for read in (document.json_of, document.yaml_of):
        with contextlib.suppress(Invalid):
            read(content)


@given(st.text(alphabet='{}[]:,"&*!<-> \n.ab1', max_size=60))
def test_any_yaml_like_text_is_read_or_refused(text: str) -> None:
    try:
        value = document.yaml_of(text.encode())
    except Invalid:
        return
    json.dumps(value)
