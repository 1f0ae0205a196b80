"""What the secrets of an allocation hold: asked for just before a start or a pull, and forgotten after it.

Whoever wants some while a question is under way is asked for together with the others, in the next one. Nothing here
is written down, and what a runtime says of a failure is told without what it was given.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import ClassVar, Final

import structlog

from agents import login
from agents.client import Away, Refused
from agents.container import Container, Node
from agents.runtime import Runtime, RuntimeFault, StartFault, Unavailable
from agents.step import Fault, Pull, Start, filled
from heroctl.domain.assignment import Assigned, SecretsReply
from heroctl.domain.references import UnknownReference

MOST: Final = 25  # allocations in one question
WAITING: Final = "waiting_for_secrets"
_HIDDEN: Final = "***"
_LEAST: Final = 4  # bytes; what is shorter occurs everywhere
_log = structlog.get_logger("secrets")

_NONE: Final[Mapping[str, str]] = {}

Ask = Callable[[list[str]], Awaitable[SecretsReply]]


class Waiting(Unavailable):
    """Nobody says now what the secrets hold: ask again."""

    reason: ClassVar[str] = WAITING


class SecretUnavailable(StartFault):
    """A secret that the task was made with is not there, or cannot be used so."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.fault = Fault("final", "secret_unavailable", message)


class Secrets:
    """Asks the control plane, for one node. `ask` raises Away or Refused."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._wanted: dict[str, asyncio.Future[dict[str, bytes]]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def start(self, start: Start, node: Node, runtime: Runtime, services: Mapping[str, str] = _NONE) -> Container:
        """Start a container, with what its secrets hold, and where it finds services. Waiting, SecretUnavailable."""
        if not start.assigned.secrets and not services:
            return await runtime.start(start.description)
        values = await self.of(start.assigned.id) if start.assigned.secrets else {}
        try:
            description = filled(start, node, values, services)
        except UnknownReference as error:
            raise SecretUnavailable(str(error)) from error
        with _hiding(values):
            return await runtime.start(description)

    async def pull(self, pull: Pull, alloc: str, runtime: Runtime) -> None:
        """Pull an image, as whoever a secret says. Waiting, SecretUnavailable."""
        if not pull.login:
            await runtime.pull(pull.image)
            return
        values = await self.of(alloc)
        if pull.login not in values:
            raise SecretUnavailable(f"secret {pull.login} is not there")
        try:
            who = login.read(values[pull.login])
        except ValueError as error:
            raise SecretUnavailable(f"image_auth, secret {pull.login}: {error}") from error
        with _hiding({"password": who.password.encode(), "login": who.header.encode()}):
            await runtime.pull(pull.image, who)

    async def heard(self, assigned: Assigned | None, said: str) -> str:
        """Give what a workload said, without what its secrets hold; nothing, where nobody tells now what that is."""
        if not said or assigned is None or not assigned.secrets:
            return said
        try:
            return without(said, await self.of(assigned.id))
        except (Waiting, SecretUnavailable):
            return ""

    async def of(self, alloc: str) -> dict[str, bytes]:
        """Return what the secrets of an allocation hold, by name. Waiting, SecretUnavailable."""
        future = self._wanted.get(alloc)
        if future is None:
            future = self._wanted[alloc] = asyncio.get_running_loop().create_future()
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_all())
        return await asyncio.shield(future)

    async def close(self) -> None:
        """Ask nobody any more."""
        if self._asking is not None:
            self._asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._asking

    async def _ask_all(self) -> None:
        """Ask until nobody waits for an answer."""
        try:
            while self._wanted:
                allocs = list(self._wanted)[:MOST]
                futures = {alloc: self._wanted.pop(alloc) for alloc in allocs}
                try:
                    _answer(futures, await self._ask(allocs))
                except (Away, Refused) as error:
                    _log.info("secrets_not_answered", error=str(error), allocs=len(allocs))
                    _fail(futures, f"the control plane does not answer: {error}")
                finally:
                    _fail(futures, "the agent ends")
        finally:
            self._asking = None
            _fail(self._wanted, "the agent ends")


def _answer(futures: Mapping[str, asyncio.Future[dict[str, bytes]]], reply: SecretsReply) -> None:
    for alloc, future in futures.items():
        values, refused = reply.values.get(alloc), reply.refused.get(alloc, "nothing")
        if values is not None:
            try:
                future.set_result({name: base64.b64decode(value, validate=True) for name, value in values.items()})
            except binascii.Error:
                _refuse(future, Waiting("what the control plane says of the secrets cannot be read"))
        elif refused == "missing":
            _refuse(future, SecretUnavailable("a secret that its version was made with is not there any more"))
        else:  # it knows less than we do, or more: an assignment is under way
            _refuse(future, Waiting(f"the control plane gives out no secrets for it: {refused}"))


def _fail(futures: Mapping[str, asyncio.Future[dict[str, bytes]]], message: str) -> None:
    for future in futures.values():
        if not future.done():
            _refuse(future, Waiting(message))


def _refuse(future: asyncio.Future[dict[str, bytes]], error: RuntimeFault) -> None:
    future.set_exception(error)
    future.exception()  # whoever asked may be gone


@contextlib.contextmanager
def _hiding(values: Mapping[str, bytes]) -> Iterator[None]:
    """Take what was given out of what is said of a failure."""
    try:
        yield
    except StartFault as error:
        error.fault = Fault(
            error.fault.kind, error.fault.reason, without(error.fault.message, values), error.fault.port
        )
        raise
    except RuntimeFault as error:
        raise type(error)(without(str(error), values)) from None


def without(message: str, values: Mapping[str, bytes]) -> str:
    """Hide values as they are, as they stand in quotes, and line by line; the longest first: one may hold another.

    Of what was said only the end may be left: at its beginning the end of a value is hidden, too.
    """
    texts = {value.decode(errors="replace").strip() for value in values.values()}
    forms = texts | {json.dumps(text, ensure_ascii=False)[1:-1] for text in texts}
    forms |= {line.strip() for text in texts for line in text.splitlines()}
    for form in sorted(forms, key=len, reverse=True):
        if len(form) >= _LEAST:
            message = message.replace(form, _HIDDEN)
    ends = (form[at:] for form in forms for at in range(1, len(form) - _LEAST + 1))
    rest = max((end for end in ends if message.startswith(end)), key=len, default="")
    return _HIDDEN + message[len(rest) :] if rest else message
