"""Who an agent is to a registry: what the secret that a task names for it says. Pure."""

from __future__ import annotations

import base64

import msgspec
from msgspec import Struct


class Login(Struct, frozen=True):
    """A user of a registry. What it holds is never shown."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.username!r}, '***')"

    @property
    def header(self) -> str:
        """Spell it as the header X-Registry-Auth."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode()


def read(secret: bytes) -> Login:
    """Read `user:password`, or an object `{username, password}` as engines keep it. ValueError says nothing of it."""
    try:
        if secret.lstrip().startswith(b"{"):
            login = msgspec.json.decode(secret, type=Login)
        else:
            user, _, password = secret.decode().strip().partition(":")
            login = Login(user, password)
    except (msgspec.MsgspecError, UnicodeError):
        login = Login("", "")
    if not login.username or not login.password or "\n" in login.password:
        raise ValueError("the secret holds neither user:password nor an object with username and password")
    return login
