"""References to container images, read as Docker reads them: `[host[:port]/]repository[:tag][@digest]`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from msgspec import Struct

DOCKER_HUB: Final = "docker.io"
_HUB_NAMES: Final = frozenset({DOCKER_HUB, "index.docker.io", "registry-1.docker.io"})
_OFFICIAL: Final = "library/"  # where the Hub keeps names without a slash
_USUAL_TAG: Final = "latest"
_LONGEST: Final = 255  # of host and repository together

_PART: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG: Final = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_LABEL: Final = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST: Final = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:.]+\])(?::[0-9]{{1,5}})?")
_ANY_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_ID: Final = re.compile(r"[0-9a-f]{64}")


class Reference(Struct, frozen=True):
    """What names an image. `name` is as it was written, without tag and digest; the rest has its defaults filled in."""

    name: str
    host: str  # with its port, where it has one
    repository: str
    tag: str
    digest: str = ""  # with one, the tag says nothing


@lru_cache(maxsize=4096)
def parse(text: str) -> Reference:
    """Read a reference. ValueError says what is wrong with it."""
    rest, at, digest = text.partition("@")
    if at and not _ANY_DIGEST.fullmatch(digest):
        raise ValueError("what follows @ is no digest such as sha256:… of 64 hexadecimal digits")
    head, slash, last = rest.rpartition("/")
    last, colon, tag = last.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise ValueError(
            "a tag has letters, digits, '_', '.' and '-', at most 128, and begins with a letter, digit or '_'"
        )
    name = head + slash + last
    host, repository = _split(name)
    if not _HOST.fullmatch(host):
        raise ValueError(f"{host!r} is no address of a registry")
    if not all(_PART.fullmatch(part) for part in repository.split("/")) or _ID.fullmatch(name):
        raise ValueError("a repository has a-z, 0-9, and single '.', '_', '-' or '/' between them")
    if len(host) + 1 + len(repository) > _LONGEST:
        raise ValueError(f"at most {_LONGEST} characters")
    return Reference(name, host, repository, tag or _USUAL_TAG, digest)


def _split(name: str) -> tuple[str, str]:
    """Part the registry from the repository: a first word that could be no repository's, or is `localhost`, is one."""
    first, slash, rest = name.partition("/")
    named = bool(slash) and (first == "localhost" or any(sign in first for sign in ".:[") or first != first.lower())
    host, repository = (first, rest) if named else (DOCKER_HUB, name)
    if host not in _HUB_NAMES:
        return host, repository
    return DOCKER_HUB, repository if "/" in repository else _OFFICIAL + repository


def is_digest(text: str) -> bool:
    """Tell whether this is a digest as a pin has it."""
    return _DIGEST.fullmatch(text) is not None


def pinned(image: str, digest: str) -> str:
    """Name an image by what its tag stood for. One that names a digest itself stays as it is."""
    reference = parse(image)
    return image if reference.digest else f"{reference.name}@{digest}"


def digest_of(image: str, pulled: Iterable[str]) -> str:
    """Find what an image was pulled as among `name@digest`; "" where that was not from its place, or several things."""
    place = _place(read(image))
    digests = {one.digest for one in map(read, pulled) if one is not None and place == _place(one)}
    found = {digest for digest in digests if is_digest(digest)}
    return found.pop() if len(found) == 1 else ""


def _place(reference: Reference | None) -> tuple[str, str] | None:
    return None if reference is None else (reference.host, reference.repository)


def tagged(image: str) -> bool:
    """Tell whether an image is named by a tag, so that it may be another one tomorrow."""
    reference = read(image)
    return reference is not None and not reference.digest


def read(text: str) -> Reference | None:
    """Read a reference; None: it is none, and of a time when anything was taken."""
    try:
        return parse(text)
    except ValueError:
        return None
