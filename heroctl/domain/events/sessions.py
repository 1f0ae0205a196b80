"""Events of logins, and of the keys that sign them: not folded, but told, exported and proven like all else."""

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


class SigningKeyRotated(Event, frozen=True, gc=False, omit_defaults=True):
    """The tokens of logins are signed with another key from here on; by a process: it was given one in its file.

    `end_sessions`: whatever was signed before is over. Nothing of any key is told.
    """

    TAG: ClassVar[str] = "signing_key.rotated"
    end_sessions: bool = False
