"""The documentation page: everything on it comes from this process, and its policy lets nothing else in."""

from __future__ import annotations

import json
import re

import pytest

from heroctl.domain import jobschema
from tests.api.rig import Rig


async def test_the_page_names_no_other_server_and_all_that_it_names_is_there(api: Rig) -> None:
    page = await api.get("/v1/docs", token="")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    text = page.raw.decode()
    assert re.findall(r"(?:https?:)?//[\w.-]+", text) == []
    assert "<script>" not in text, "the policy would forbid it"
    files = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert len(files) >= 5
    for file in files:
        reply = await api.get(file, token="")
        assert reply.status == 200, file
        assert reply.raw, file
        assert reply.headers["x-content-type-options"] == "nosniff"


async def test_its_policy_is_strict(api: Rig) -> None:
    for path in ("/v1/docs", "/v1/docs/docs.js"):
        policy = (await api.get(path, token="")).headers["content-security-policy"]
        rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
        assert rules["default-src"] == "'none'"
        assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
        assert rules["frame-ancestors"] == "'none'"
        assert "unsafe" not in policy


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("swagger-ui.css", "text/css; charset=utf-8"),
        ("docs.css", "text/css; charset=utf-8"),
        ("favicon.svg", "image/svg+xml"),
    ],
)
async def test_a_file_is_sent_once(api: Rig, name: str, kind: str) -> None:
    first = await api.get(f"/v1/docs/{name}", token="")
    assert first.headers["content-type"] == kind
    assert "no-cache" in first.headers["cache-control"]
    again = await api.get(f"/v1/docs/{name}", token="", headers={"if-none-match": first.headers["etag"]})
    assert (again.status, again.raw) == (304, b"")


@pytest.mark.parametrize("name", ["docs.html", "..%2fdocs.py", "%2e%2e", "docs.py", "swagger-ui.css.map"])
async def test_no_other_file_is_given_out(api: Rig, name: str) -> None:
    assert (await api.get(f"/v1/docs/{name}", token="")).status == 404


async def test_the_job_schema_is_served_to_everybody(api: Rig) -> None:
    reply = await api.get("/v1/schema/job.json", token="")
    assert reply.headers["content-type"] == "application/schema+json"
    assert json.loads(reply.raw) == jobschema.document()
