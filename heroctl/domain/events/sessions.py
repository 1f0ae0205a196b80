"""Events of logins: nothing is folded from them, but who came and went is told, exported and proven like all else."""

from __future__ import annotations

from typing import ClassVar

from heroctl.domain.events.event import Event


class SessionOpened(Event, frozen=True, gc=False, omit_defaults=True):
    """A user logged in: by password, or by the ACL token of this id. `session`: the beginning of the session's id."""

    TAG: ClassVar[str] = "session.opened"
    session: str
    user: str
    token: str = ""


class SessionEnded(Event, frozen=True, gc=False, omit_defaults=True):
    """A session was ended: by a logout, or because a refresh token of it came back that had been used."""

    TAG: ClassVar[str] = "session.ended"
    session: str
    user: str
    reason: str = "logout"
