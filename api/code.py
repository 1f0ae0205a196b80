"""What a code in an answer's `error` stands for."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from heroctl.domain.errors import Refusal

SHOWN: Final = "`details` names the field and what is expected of it."
AGAIN: Final = "Ask again after `Retry-After` seconds."
OTHER: Final = "Ask again after `Retry-After` seconds, or ask another api."
LIST: Final = "List what is there; a name is looked for in namespace `default` unless `?namespace=` says another."


class Code(Struct, frozen=True):
    """One code."""

    kind: type[Refusal]
    meaning: str
    remedy: str
