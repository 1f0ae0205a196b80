"""Ends what an earlier run left behind: children of a dev process that was killed with no time to end them."""

from __future__ import annotations

import signal
from typing import Final

from heroctl.dev.folder import Folder, Trouble
from heroctl.dev.processes import Identity, end
from heroctl.dev.screen import Screen

# In this order. An agent goes without a word, so that its workloads stay and are adopted; Postgres gets to flush.
_ENDINGS: Final = (
    ("agent-", signal.SIGKILL),
    ("", signal.SIGTERM),
    ("postgres", signal.SIGINT),
)


def clear(folder: Folder, screen: Screen) -> None:
    """End them and wait until they are gone. Trouble where one cannot be ended."""
    left = {name: one for name, one in folder.children().items() if one.lives}
    if left:
        told = ", ".join(f"{name} (pid {one.pid})" for name, one in left.items())
        screen.say(f"an earlier run left {told}: ending them first")
    for prefix, how in _ENDINGS:
        _end([left.pop(name) for name in list(left) if name.startswith(prefix) and (prefix or name != "postgres")], how)


def _end(who: list[Identity], how: signal.Signals) -> None:
    stubborn = end(who, how, 6.0)
    if stubborn and (immortal := end(stubborn, signal.SIGKILL, 5.0)):
        pids = ", ".join(str(one.pid) for one in immortal)
        raise Trouble(f"processes of an earlier run cannot be ended: {pids}; end them, then start again")
