"""Bodies of requests: read within bounds. Whatever is wrong with one is the caller's 400 or 413.

JSON whatever the Content-Type says; YAML for its three types only, and only where a job spec is read. How strictly both
are decoded is said in `heroctl.document`.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final, TypeVar

import msgspec
from msgspec import inspect
from msgspec.structs import replace

from api.answer import Receive
from heroctl.domain.errors import Invalid, Problem, Refusal, TooLarge

T = TypeVar("T")

LARGEST: Final = 1 << 20
PATIENCE: Final = 30.0  # seconds for a whole body to arrive
_GRACE: Final = 10.0  # seconds after which it has to have come at this pace
_PACE: Final = 1024.0  # bytes a second
YAML_TYPES: Final = frozenset({b"application/yaml", b"application/x-yaml", b"text/yaml"})
_CONVERT_ERROR: Final = re.compile(r"^(?P<message>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_UNKNOWN: Final = re.compile(r"unknown field `(?P<name>.*)`")
_MISSING: Final = re.compile(r"required field `(?P<name>.*)`")


class TooSlow(Refusal):
    """408: the body does not come."""

    status = 408


async def read(receive: Receive, headers: list[tuple[bytes, bytes]], largest: int = LARGEST) -> bytes:
    """Take a request's body off the wire: at most `largest` bytes, counted while they arrive, within 30 s.

    Raises `body_timeout`, after 10 s already where it drips at less than 1 KiB/s.
    """
    _judge(headers, largest)
    try:
        async with asyncio.timeout(_GRACE) as limit:
            return await _collect(receive, largest, limit)
    except TimeoutError:
        raise TooSlow("body_timeout", f"a body is to come at 1 KiB/s at least, within {PATIENCE:g} s") from None


def _judge(headers: list[tuple[bytes, bytes]], largest: int) -> None:
    for name, value in headers:
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise Invalid("unsupported_encoding", "send the body as it is: compressed bodies are not taken")
        if name == b"content-length" and value.isdigit() and int(value[:20]) > largest:
            raise _too_large(largest)


async def _collect(receive: Receive, largest: int, limit: asyncio.Timeout) -> bytes:
    parts: list[bytes] = []
    size, began = 0, asyncio.get_running_loop().time()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Invalid("body_cut_off", "the connection ended before the body did")
        part = message.get("body", b"")
        size += len(part)
        if size > largest:
            raise _too_large(largest)
        parts.append(bytes(part))
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)
        limit.reschedule(began + min(max(_GRACE, size / _PACE), PATIENCE))


def _too_large(largest: int) -> TooLarge:
    return TooLarge("body_too_large", f"a body has at most {largest} bytes")


def is_yaml(headers: list[tuple[bytes, bytes]]) -> bool:
    """Tell whether the Content-Type says YAML."""
    kind = next((value for name, value in headers if name == b"content-type"), b"")
    return kind.partition(b";")[0].strip().lower() in YAML_TYPES


# ── typed ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def typed(value: Any, kind: type[T]) -> T:  # noqa: ANN401 - JSON
    """Read a decoded body as a Struct. Raises Invalid `invalid_body` with the path of the field."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        problem = _problem(str(error))
        if choices := _choices(kind, problem.path) if problem.message.startswith("Invalid enum value") else ():
            problem = replace(problem, message=f"it is to be one of {', '.join(choices)}")
        raise Invalid("invalid_body", f"{problem.path or 'the body'}: {problem.message}", details=(problem,)) from None


def _choices(kind: type, name: str) -> list[str]:
    """Name what a field of a Struct may be, where that is told by its type."""
    fields = [field for field in getattr(inspect.type_info(kind), "fields", ()) if field.encode_name == name]
    types = [each for field in fields for each in getattr(field.type, "types", (field.type,))]
    return [str(value) for each in types if isinstance(each, inspect.LiteralType) for value in each.values]


def _problem(text: str) -> Problem:
    found = _CONVERT_ERROR.match(text)
    message, path = (found["message"], found["path"] or "") if found else (text, "")
    if unknown := _UNKNOWN.search(message):
        return Problem(_join(path, unknown["name"]), "unknown_field", "there is no such field")
    if missing := _MISSING.search(message):
        return Problem(_join(path, missing["name"]), "required", "this field is needed")
    return Problem(path, "invalid_value", message)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
