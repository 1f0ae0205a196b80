"""Asks a registry of container images what a tag stands for, as anybody may who has no account there.

The protocol is that of the OCI distribution specification: HEAD of a manifest, a token for the asking where one is
demanded. A registry that does not name the digest is asked for the manifest itself.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final
from urllib.request import parse_http_list, parse_keqv_list

import httpx2
import msgspec
from msgspec import Struct

from heroctl.domain.addresses import is_loopback
from heroctl.domain.image import DOCKER_HUB, Reference, is_digest
from heroctl.domain.pattern import matches
from heroctl.outside import Outside, Response, Unanswered

# Indexes first: what they name is the image for every kind of machine.
MANIFESTS: Final = (
    "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
)
_ENDPOINTS: Final = {DOCKER_HUB: "registry-1.docker.io"}
_DIGEST: Final = "docker-content-digest"
_BEARER: Final = re.compile(r"\bbearer\s+(.*)", re.IGNORECASE)
_MANIFEST_BYTES: Final = 4 << 20
_TOKEN_BYTES: Final = 64 << 10
_REDIRECTS: Final = 3
_MOVED: Final = frozenset({301, 302, 303, 307, 308})
_SAID: Final = {
    401: "gives this image to nobody without an account",
    403: "gives this image to nobody without an account",
    404: "has no such image",
    429: "was asked too often",
}


class Listed(Struct, frozen=True):
    """A registry that may be asked: its host, in which `*` stands for any characters, and how to speak to it."""

    host: str
    scheme: str = ""

    @classmethod
    def parse(cls, text: str) -> Listed:
        """Read `host[:port]`, `http://host[:port]` or `https://…`. ValueError says what is wrong."""
        scheme, mark, host = text.rpartition("://")
        if (mark and scheme not in ("http", "https")) or not host or set(host) & set("/@? "):
            raise ValueError(f"{text!r} is no registry such as registry.example.com or http://registry.internal:5000")
        return cls(host, scheme)

    def url(self, host: str) -> str:
        """Say where to speak to a host. Only this machine is spoken to in the clear unless it is listed so."""
        name = _url(f"https://{host}").host
        return f"{self.scheme or ('http' if is_loopback(name) else 'https')}://{_ENDPOINTS.get(host, host)}"


class _Token(Struct):
    token: str = ""
    access_token: str = ""


def find(listed: tuple[Listed, ...], host: str) -> Listed | None:
    """Find the entry that names a host: the first."""
    return next((each for each in listed if matches(each.host, host)), None)


async def digest(outside: Outside, registry: Listed, image: Reference) -> str:
    """Ask what an image's tag stands for: `sha256:…`. Raises Unanswered."""
    url = _url(f"{registry.url(image.host)}/v2/{image.repository}/manifests/{image.tag}")
    headers = {"Accept": MANIFESTS}
    answer = await _followed(outside, "HEAD", url, headers)
    if answer.status == 401:
        headers["Authorization"] = f"Bearer {await _token(outside, answer, url, image)}"
        answer = await _followed(outside, "HEAD", url, headers)
    if answer.status == 200 and is_digest(answer.headers.get(_DIGEST, "")):
        return answer.headers[_DIGEST]
    if answer.status in (200, 405):
        answer = await _followed(outside, "GET", url, headers, most=_MANIFEST_BYTES + 1)
    if answer.status != 200:
        raise Unanswered(_SAID.get(answer.status, f"answers with {answer.status}"))
    if len(answer.body) > _MANIFEST_BYTES:
        raise Unanswered(f"has a manifest of more than {_MANIFEST_BYTES >> 20} MiB")
    return f"sha256:{hashlib.sha256(answer.body).hexdigest()}"


async def _followed(
    outside: Outside, method: str, url: httpx2.URL, headers: Mapping[str, str], most: int = 0
) -> Response:
    """Ask, and go where the answer leads: each place is looked at like the first, and another host gets no token."""
    for _ in range(_REDIRECTS + 1):
        answer = await outside.ask(method, url, headers, most)
        if answer.status not in _MOVED:
            return answer
        there = _url(answer.headers.get("location", ""), url)
        _keep_secure(url, there)
        if (there.host, there.port) != (url.host, url.port):
            headers = {name: value for name, value in headers.items() if name != "Authorization"}
        url = there
    raise Unanswered("leads from place to place")


async def _token(outside: Outside, refusal: Response, url: httpx2.URL, image: Reference) -> str:
    """Get the token that anybody is given who asks for it."""
    asked = _challenge(refusal.headers.get("www-authenticate", ""))
    if not asked.get("realm"):
        raise Unanswered(_SAID[401])
    realm = _url(asked["realm"], url)
    _keep_secure(url, realm)
    wanted = {"scope": asked.get("scope") or f"repository:{image.repository}:pull"}
    wanted |= {"service": asked["service"]} if asked.get("service") else {}
    answer = await outside.ask("GET", realm.copy_merge_params(wanted), {}, _TOKEN_BYTES)
    if answer.status != 200:
        raise Unanswered(_SAID.get(answer.status, f"gives no token: {answer.status}"))
    try:
        given = msgspec.json.decode(answer.body, type=_Token)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Unanswered("gives a token that cannot be read") from None
    token = given.token or given.access_token
    if not token or not token.isascii() or not token.isprintable():
        raise Unanswered("gives a token that cannot be read")
    return token


def _challenge(header: str) -> dict[str, str]:
    """Read what has to be asked for, and where; of several ways to get in, the one that is open to anybody."""
    found = _BEARER.search(header)
    try:
        return parse_keqv_list(parse_http_list(found[1])) if found else {}
    except (ValueError, IndexError):
        return {}


def _url(text: str, base: httpx2.URL | None = None) -> httpx2.URL:
    try:
        return httpx2.URL(text) if base is None else base.join(text)
    except (httpx2.InvalidURL, ValueError):
        raise Unanswered("leads to an address that cannot be read") from None


def _keep_secure(before: httpx2.URL, after: httpx2.URL) -> None:
    if after.scheme not in ("https", before.scheme):
        raise Unanswered("leads to where everybody could listen")
