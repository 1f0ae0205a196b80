"""One request on its way through a handler: who asks, what for, and the parts of the process that can help."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qsl

from api import body
from api.access import Principal
from api.answer import Header, Receive
from heroctl.domain.errors import Invalid, Problem
from heroctl.domain.events import Meta

if TYPE_CHECKING:
    from api.parts import Parts
    from api.write import Decide, Done
    from eventstore.log import Key

T = TypeVar("T")

_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_MOST_ARGUMENTS: Final = 20


class Call:
    """What a handler gets. `path`: the words of the route's placeholders; `args`: the query, names checked."""

    __slots__ = ("_body", "args", "client", "headers", "key", "parts", "path", "principal", "receive", "request_id")

    def __init__(
        self,
        parts: Parts,
        principal: Principal,
        request_id: str,
        *,
        path: Mapping[str, str],
        args: Mapping[str, str],
        headers: list[Header],
        receive: Receive,
        client: str,
    ) -> None:
        self.parts = parts
        self.principal = principal
        self.request_id = request_id
        self.path = path
        self.args = args
        self.headers = headers
        self.receive = receive
        self.client = client
        self.key: Key | None = None  # under which its first write is done
        self._body: bytes | None = None

    @property
    def namespace(self) -> str:
        """The namespace that a single thing is looked for in."""
        return self.args.get("namespace", "default")

    @property
    def meta(self) -> Meta:
        """Who causes what this call appends."""
        return Meta(self.principal.actor, self.request_id, self.client)

    async def raw(self) -> bytes:
        """Read the body as it is; what came is kept."""
        if self._body is None:
            self._body = await body.read(self.receive, self.headers)
        return self._body

    async def document(self) -> Any:  # noqa: ANN401 - JSON
        """Read the body as JSON, or as YAML where the Content-Type says so."""
        content = await self.raw()
        if body.is_yaml(self.headers):
            return await asyncio.to_thread(body.yaml_of, content)
        return body.json_of(content)

    async def body(self, kind: type[T]) -> T:
        """Read the body as a Struct; an empty one is an object without fields."""
        content = await self.raw()
        return body.typed(body.json_of(content) if content.strip() else {}, kind)

    async def nothing(self) -> None:
        """Read the body of a route that takes none: empty, or an object without fields."""
        content = await self.raw()
        if content.strip() and (fields := body.json_of(content)) != {}:
            first = next(iter(fields), "") if isinstance(fields, dict) else ""
            problem = Problem(str(first), "unknown_field", "this route takes no fields")
            raise Invalid("invalid_body", f"{first or 'the body'}: {problem.message}", details=(problem,))

    def number(self, name: str) -> int | None:
        """Read a whole number of the query. Raises `invalid_<name>`."""
        return number(self.args, name)

    async def write(self, stream: str, decide: Decide) -> int:
        """As `change`, for those who need no more than the index."""
        return (await self.change(stream, decide)).index

    async def change(self, stream: str, decide: Decide) -> Done:
        """Append what `decide` says, in this caller's name, and once if the call has a key; see Writer.write.

        The key goes with the first write of a call: let it be the one that matters, or the only one.
        """
        done = await self.parts.writer.write(stream, decide, self.meta, self.key)
        self.key = None
        return done


def number(args: Mapping[str, str], name: str) -> int | None:
    """Read a whole number, 0 or more, of a query. Raises `invalid_<name>`."""
    text = args.get(name)
    if text is None:
        return None
    if _NUMBER.fullmatch(text) is None:
        problem = Problem(name, f"invalid_{name}", "expected a whole number, 0 or more")
        raise Invalid(f"invalid_{name}", f"{name}: {problem.message}", details=(problem,))
    return int(text)


def arguments(query: bytes, known: Iterable[str]) -> dict[str, str]:
    """Read a query string. Raises Invalid for a name that stands twice, or that the route does not know.

    A filter that is passed over would answer another question.
    """
    if not query:
        return {}
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_ARGUMENTS
        )
    except ValueError:
        raise Invalid("invalid_query", "the query string cannot be read") from None
    args = dict(pairs)
    if len(args) != len(pairs):
        raise Invalid("invalid_query", "a name stands twice in the query string")
    for name in args:
        if name not in known:
            problem = Problem(name, "unknown_parameter", f"known here: {', '.join(sorted(known)) or 'none'}")
            raise Invalid("unknown_parameter", f"there is no parameter '{name}' here", details=(problem,))
    return args
