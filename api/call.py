"""One request on its way through a handler: who asks, what for, and the parts of the process that can help."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from api import body
from api.access import Access, Principal, forbidden
from api.answer import Header, Receive
from api.query import number
from heroctl.document import json_of, yaml_of
from heroctl.domain import spec as specs
from heroctl.domain.errors import Invalid, Problem, Refusal
from heroctl.domain.events import Event, JobSubmitted, Meta
from heroctl.domain.needs import needs
from heroctl.domain.policy import placed, resource_of, seeing

if TYPE_CHECKING:
    from api.parts import Parts
    from api.write import Decide, Done
    from eventstore.log import Key
    from heroctl.domain.intents.change import Change
    from heroctl.domain.state import State

T = TypeVar("T")


class Call:
    """What a handler gets. `path`: the words of the route's placeholders; `args`: the query, names checked.

    Where the row's right is held at places, the gate let everybody through who has it somewhere: the handler says by
    `allow` which thing it is about. One that forgot it can neither write nor answer.
    """

    __slots__ = (
        "_body",
        "_places",
        "access",
        "args",
        "client",
        "headers",
        "key",
        "parts",
        "path",
        "principal",
        "receive",
        "request_id",
    )

    def __init__(
        self,
        parts: Parts,
        principal: Principal,
        request_id: str,
        *,
        access: Access,
        path: Mapping[str, str],
        args: Mapping[str, str],
        headers: list[Header],
        receive: Receive,
        client: str,
    ) -> None:
        self.parts = parts
        self.principal = principal
        self.request_id = request_id
        self.access = access
        self.path = path
        self.args = args
        self.headers = headers
        self.receive = receive
        self.client = client
        self.key: Key | None = None  # under which its first write is done
        self._body: bytes | None = None
        self._places: set[tuple[str | None, str | None]] = set()

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
            self._body = await body.read(self.receive, self.headers, self.parts.bounds.body)
        return self._body

    async def document(self) -> Any:  # noqa: ANN401 - JSON
        """Read the body as JSON, or as YAML where the Content-Type says so."""
        content = await self.raw()
        if body.is_yaml(self.headers):
            return await asyncio.to_thread(yaml_of, content)
        return json_of(content)

    async def body(self, kind: type[T]) -> T:
        """Read the body as a Struct; an empty one is an object without fields."""
        content = await self.raw()
        return body.typed(json_of(content) if content.strip() else {}, kind)

    async def nothing(self) -> None:
        """Read the body of a route that takes none: empty, or an object without fields."""
        content = await self.raw()
        if content.strip() and (fields := json_of(content)) != {}:
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
        self.judged()

        def allowed(state: State) -> Change:
            change = decide(state)
            for event in change.events:
                self._judge(event)
            return change

        done = await self.parts.writer.write(stream, allowed, self.meta, self.key)
        self.key = None
        return done

    @property
    def about(self) -> tuple[str, str]:
        """The namespace and the job that this was found to be about; nothing: none, or all."""
        found = sorted((place or "", job or "") for place, job in self._places)
        return found[0] if len(found) == 1 else (self.args.get("namespace", ""), "")

    # ── may it? ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def allow(self, place: str, job: str | None = None, *, absent: Refusal) -> None:
        """Go on if the caller may do this here: in a namespace, to a job, or to the thing of this name.

        Raises `absent` where it may not even know that the thing is there, else Forbidden.
        """
        self.need(self.access.right, place, job, absent=absent)
        self._places.add((place, job))

    def allow_spec(self, spec: specs.Job, *, absent: Refusal) -> None:
        """Go on if the caller may make this a version of its job."""
        self.allow(spec.namespace, spec.name, absent=absent)
        for need in needs(spec):
            if not self.principal.allows(need.right, spec.namespace, spec.name):
                raise forbidden(need.right, need.path)

    def need(self, right: str, place: str, job: str | None = None, *, absent: Refusal) -> None:
        """Go on if the caller has a right here, besides that which its row takes."""
        if self.principal.allows(right, place, job):
            return
        raise forbidden(right) if self.principal.allows(seeing(right), place, job) else absent

    def need_everywhere(self, right: str) -> None:
        """Go on if the caller has a right at every place, besides that which its row takes."""
        if not self.principal.everywhere(right):
            raise forbidden(right)

    def sees(self, place: str, job: str | None = None) -> bool:
        """Tell whether the caller may know that a thing is there: it may see it, or do to it what it asks."""
        right = self.access.right
        return self.principal.allows(seeing(right), place, job) or self.principal.allows(right, place, job)

    def allow_everywhere(self) -> None:
        """Go on if the caller may do this to all that there are, and will be."""
        if not self.principal.everywhere(self.access.right):
            raise forbidden(self.access.right)
        self._places.add((None, None))

    def allow_nothing(self) -> None:
        """Go on: what is answered is about nothing that anybody could be kept from."""
        self._places.add((None, None))

    def judged(self) -> None:
        """Fail unless what this call is about was judged, where it has to be. That is a bug, and answered as one."""
        if placed(self.access.right) and not self._places:
            raise AssertionError(f"nobody asked whether {self.principal.actor} may {self.access.right} here")

    def _judge(self, event: Event) -> None:
        """Fail where an event is about another job than was judged; refuse what a new version may not hold."""
        namespace = getattr(event, "namespace", None)
        if namespace is None or not placed(self.access.right):
            return
        job = getattr(event, "job", None) or getattr(event, "name", None)
        if not resource_of(self.access.right).of_jobs:
            job = None
        if not any(place == namespace and job in (asked, None) for place, asked in self._places):
            where = f"{namespace}/{job or ''}"
            raise AssertionError(f"nobody asked whether {self.principal.actor} may {self.access.right} at {where}")
        if isinstance(event, JobSubmitted):
            self.allow_spec(specs.decode(bytes(event.spec)), absent=forbidden(self.access.right))

    def judge_again(self, events: Iterable[Event]) -> None:
        """Judge what this call did before by today's rights, before it is told again."""
        if not placed(self.access.right):
            return
        for event in events:
            namespace = getattr(event, "namespace", None)
            job = getattr(event, "job", None) or getattr(event, "name", None)
            if namespace is not None:
                self.allow(namespace, job, absent=forbidden(self.access.right))
