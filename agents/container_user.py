"""Whom a container runs as, in numbers: what its image says, and what the lists of users in it say of that. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

_LARGEST: Final = 2**31 - 1  # number that engines take for a user or a group


class User(NamedTuple):
    """Numbers of a user and a group."""

    uid: int
    gid: int


class NoSuchUser(ValueError):  # noqa: N818 - it says what it is about
    """The image names a user, or a group, that is not in its lists."""


def plain(said: str) -> User | None:
    """Read what an image says where that takes no list: nothing, which is root, or both numbers."""
    if said in ("", "0", "root", "0:0", "root:root"):
        return User(0, 0)
    user, colon, group = said.partition(":")
    return User(int(user), int(group)) if colon and _is_number(user) and _is_number(group) else None


def named(said: str, passwd: str, group: str) -> User:
    """Read what an image says with its /etc/passwd and /etc/group, as engines do."""
    name, _, wanted = said.partition(":")
    found = next((line for line in _lines(passwd, 4) if name in (line[0], line[2])), None)
    if found is None and not _is_number(name):
        raise NoSuchUser(f"user {name} is not in the image's /etc/passwd")
    uid, gid = (int(found[2]), int(found[3])) if found is not None else (int(name), 0)
    return User(uid, _group(wanted, group) if wanted else gid)


def _group(wanted: str, group: str) -> int:
    if _is_number(wanted):
        return int(wanted)
    found = next((line for line in _lines(group, 3) if line[0] == wanted), None)
    if found is None:
        raise NoSuchUser(f"group {wanted} is not in the image's /etc/group")
    return int(found[2])


def _lines(text: str, least: int) -> Iterator[list[str]]:
    """Split the lines that hold numbers where they must."""
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) >= least and all(_is_number(field) for field in fields[2:least]):
            yield fields


def _is_number(text: str) -> bool:
    """Tell whether it is a number that a file can be given to: an image may say what it likes."""
    return text.isdecimal() and len(text) <= len(str(_LARGEST)) and int(text) <= _LARGEST
