"""What the api tells of itself: the OpenAPI document, a page to read it with, and the job's JSON Schema.

Everything comes from this machine: the page's library is a package whose files are served as they are, and its policy
forbids the browser to ask anybody else.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from hashlib import blake2b
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, Final

import msgspec

from api import encoding
from api.answer import Answer, Header, empty
from api.call import Call
from api.contract import tells
from heroctl.domain import jobschema
from heroctl.domain.errors import not_found

SCHEMA_JSON: Final = "application/schema+json"
_LIBRARY: Final = "mkdocs-swagger-ui-tag"
_FILES: Final[dict[str, tuple[str, str]]] = {
    "swagger-ui-bundle.js": ("mkdocs_swagger_ui_tag/swagger-ui/javascripts/swagger-ui-bundle.js", "text/javascript"),
    "swagger-ui.css": ("mkdocs_swagger_ui_tag/swagger-ui/stylesheets/swagger-ui.css", "text/css"),
    "docs.js": ("", "text/javascript"),
    "docs.css": ("", "text/css"),
    "favicon.svg": ("", "image/svg+xml"),
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_GUARDS: Final[tuple[Header, ...]] = (
    (b"content-security-policy", _POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)


@tells(dict[str, Any], tagged=True)
async def openapi(call: Call) -> Answer:
    """This document: every route with its shapes, statuses and error codes, as OpenAPI 3.1."""
    return _fresh(call, _openapi(call.parts.world.release), "application/json")


@cache
def _openapi(release: str) -> bytes:
    from api.openapi import document  # noqa: PLC0415 - it reads the table of routes, which names this file
    from api.routes import ROUTES  # noqa: PLC0415 - as above

    return msgspec.json.encode(document(ROUTES, release))


@tells(dict[str, Any], media=SCHEMA_JSON, tagged=True)
async def job_schema(call: Call) -> Answer:
    """The JSON Schema of a job spec, for editors and pipelines."""
    return _fresh(call, _job_schema(), SCHEMA_JSON)


@cache
def _job_schema() -> bytes:
    return msgspec.json.encode(jobschema.document())


@tells(str, media="text/html", tagged=True)
async def page(call: Call) -> Answer:
    """A page to read this document with, and to try it out; nothing on it comes from another server."""
    return _fresh(call, _own("docs.html"), "text/html", _GUARDS)


@tells(str, "page_not_found", media="*/*", tagged=True)
async def file(call: Call) -> Answer:
    """A file of the page."""
    name = call.path["file"]
    if name not in _FILES:
        raise not_found("page", name)
    inside, kind = _FILES[name]
    return _fresh(call, _library(inside) if inside else _own(name), kind, _GUARDS)


@cache
def _own(name: str) -> bytes:
    return (Path(__file__).parent / "assets" / name).read_bytes()


@cache
def _library(name: str) -> bytes:
    return Path(str(distribution(_LIBRARY).locate_file(name))).read_bytes()


def _fresh(call: Call, content: bytes, kind: str, headers: Iterable[Header] = ()) -> Answer:
    """Send what changes with a release only: a browser asks whether it has, and is sent it once."""
    tag = b'"%s"' % blake2b(content, digest_size=12).hexdigest().encode()
    known = any(name == b"if-none-match" and encoding.names(value, tag) for name, value in call.headers)
    if known:
        return empty(304, (b"etag", tag))
    made = Answer(content, headers=[(b"etag", tag)])
    charset = "; charset=utf-8" if kind.startswith("text/") else ""
    own: dict[bytes, bytes] = {b"content-type": f"{kind}{charset}".encode(), b"cache-control": b"no-cache"}
    own.update(headers)
    made.headers = [*((name, value) for name, value in made.headers if name not in own), *own.items()]
    return made
