"""A route: one row of their table. It cannot be written without its access."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import Struct

from api.access import Access
from api.answer import Answer
from api.call import Call
from api.paging import PAGING
from api.reads import Reader
from api.socket import Socket
from api.write import Done

Action = Callable[[Call], Awaitable[Answer]]
Meeting = Callable[[Call, Socket], Awaitable[None]]
Again = Callable[[Call, Done], Awaitable[Answer]]
WAITING: Final = ("index", "wait")
GUARDED: Final = ("namespace", "check_index")  # of writes to one job
AT: Final = "at"  # an argument of reads that can be answered as of another moment, too


async def _nothing(_: Call) -> Answer:
    raise AssertionError("a row that reads does nothing")


class Row(Struct, frozen=True, eq=False):
    """One route. `args`: the names that its query string may hold. It has a reader, or else an action.

    `again` makes an action's answer once more, for a call that is repeated under its idempotency key.
    """

    method: str
    path: str
    access: Access
    args: tuple[str, ...]
    read: Reader | None = None
    do: Action = _nothing
    again: Again | None = None
    meet: Meeting | None = None  # who speaks over a WebSocket, where that is asked for
    hides: bool = False  # whether its body holds a secret that somebody chose
    order: tuple[str, ...] = ()  # of a list: the fields that it is sorted by, `-`: backwards

    @property
    def keyed(self) -> bool:
        """Whether what it writes is written once for each idempotency key: so it is with POSTs by users."""
        return self.method == "POST" and self.access.kind == "user"

    @property
    def words(self) -> tuple[str, ...]:
        """The path, cut at its slashes; placeholders in braces."""
        return tuple(self.path.split("/"))

    def placeholders(self, path: str) -> dict[str, str]:
        """Read the words of a path that stand where this row has placeholders."""
        pairs = zip(self.words, path.split("/"), strict=False)
        return {word[1:-1]: given for word, given in pairs if word.startswith("{")}

    def takes(self, path: str) -> bool:
        """Tell whether a path has the shape of this row's."""
        words = path.split("/")
        return len(words) == len(self.words) and all(
            word.startswith("{") or word == given for word, given in zip(self.words, words, strict=True)
        )


def read(path: str, access: Access, reader: Reader, *args: str) -> Row:
    """Make a row for a GET of state. Its pages are shared by those whom its right shows the same: it needs one."""
    if access.kind == "user" and not access.right:
        raise ValueError(f"{path} is shared, and nothing tells by whom")
    return Row("GET", path, access, (*args, *WAITING), read=reader)


def lists(path: str, access: Access, reader: Reader, order: str, *args: str) -> Row:
    """Make a row for a GET of a list, sorted by these fields of its things; it comes in pages, too."""
    return Row("GET", path, access, (*args, *PAGING, *WAITING), read=reader, order=tuple(order.split()))


def do(
    method: str,
    path: str,
    access: Access,
    action: Action,
    *args: str,
    again: Again | None = None,
    hides: bool = False,
) -> Row:
    """Make a row for anything else."""
    return Row(method, path, access, args, do=action, again=again, hides=hides)


def meets(path: str, access: Access, plain: Action, meeting: Meeting) -> Row:
    """Make a row that is spoken over a WebSocket; `plain` answers who asks for it without one."""
    return Row("GET", path, access, (), do=plain, meet=meeting)
