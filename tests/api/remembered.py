"""Passwords of tests: slow by design, so that hashing them would be most of what rigs do."""

from __future__ import annotations

from typing import ClassVar

from api.passwords import Passwords


class Remembered(Passwords):
    """Passwords that are hashed once for all rigs of a run, and known again."""

    known: ClassVar[dict[str, bytes]] = {}

    async def hashed(self, password: str) -> bytes:
        """As it was hashed before, or anew."""
        if password not in self.known:
            self.known[password] = await super().hashed(password)
        return self.known[password]

    async def match(self, kept: bytes | None, password: str) -> bool:
        """Compare; what was hashed here is known."""
        return (kept is not None and self.known.get(password) == kept) or await super().match(kept, password)
