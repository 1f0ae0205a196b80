"""An api whose front lets every ready page through: no token is looked up, nothing is counted. The floor of a gate."""

from __future__ import annotations

import sys
from typing import Any

from api import __main__, access
from api.access import Principal
from api.gate import Gate
from api.limits import Limits

_find: Any = Gate.known
_first: list[Principal] = []


class _Uncounted:
    def headers(self, _now: float) -> tuple[()]:
        """Tell nothing."""
        return ()


def _known(gate: Gate, token: bytes) -> Principal | None:
    """Give whoever came first, to everybody."""
    if not _first and (found := _find(gate, token)) is not None:
        _first.append(found)
    return _first[0] if _first else None


if __name__ == "__main__":
    uncounted = _Uncounted()
    replaced: tuple[tuple[Any, str, Any], ...] = (
        (Gate, "known", _known),
        (Limits, "at_hand", lambda _self, _key: uncounted),
        (access, "allows", lambda _access, _principal: True),
        (Principal, "scope", lambda _self, _right: ()),
    )
    for owner, name, what in replaced:
        setattr(owner, name, what)
    sys.exit(__main__.main(sys.argv[1:]))
