"""Bodies of requests: read within bounds, decoded strictly. Whatever is wrong with one is the caller's 400 or 413.

JSON whatever the Content-Type says; YAML for its three types only, and only where a job spec is read. Stricter than
the libraries are by themselves: no duplicate keys (the last would win in silence), no NaN, no lone surrogates, no
deep nesting, no YAML aliases (a small document could stand for a huge one), no YAML types that JSON has not.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Hashable
from typing import Any, Final, NoReturn, TypeVar

import msgspec
import yaml

from api.answer import Receive
from heroctl.domain.errors import Invalid, Problem, Refusal, TooLarge

T = TypeVar("T")

LARGEST: Final = 1 << 20
DEEPEST: Final = 32
PATIENCE: Final = 30.0  # seconds for a whole body to arrive
_GRACE: Final = 10.0  # seconds after which it has to have come at this pace
_PACE: Final = 1024.0  # bytes a second
YAML_TYPES: Final = frozenset({b"application/yaml", b"application/x-yaml", b"text/yaml"})
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
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


# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def json_of(body: bytes) -> Any:  # noqa: ANN401 - JSON
    """Decode JSON, strictly. Raises Invalid `invalid_json`."""
    try:
        value = json.loads(body.decode(), object_pairs_hook=_object, parse_constant=_no_number, parse_float=_float)
    except UnicodeDecodeError as error:
        raise Invalid("invalid_json", f"the body is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise Invalid("invalid_json", f"the body is not JSON: {error}") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:  # a number of thousands of digits
        raise Invalid("invalid_json", f"the body is not JSON: {error}") from None
    _depth(value)
    if _SURROGATE.search(body):
        _whole_characters(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value] # add
        raise Invalid("duplicate_key", f"the key {twice!r} stands twice in one object")
    return fields


def _no_number(word: str) -> NoReturn:
    raise Invalid("invalid_json", f"the body is not JSON: {word} is not a number")


def _float(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _no_number(digits[:40])


def _depth(value: Any) -> None:  # noqa: ANN401 - JSON
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> Invalid:
    return Invalid("too_deep", f"the body is nested deeper than {DEEPEST} levels")


def _whole_characters(value: Any) -> None:  # noqa: ANN401 - JSON
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError:
        raise Invalid("invalid_json", "the body holds half of a surrogate pair: it is not Unicode text") from None


# ── YAML ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Loader(yaml.CSafeLoader):
    """The safe loader, less what JSON has not."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key: Hashable = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise Invalid("invalid_yaml", f"a key must be text, not {key!r}{_at(key_node.start_mark)}")
        if key in fields:
            raise Invalid("duplicate_key", f"the key {key!r} stands twice in one object{_at(key_node.start_mark)}")
        fields[key] = loader.construct_object(value_node, deep=True)
    return fields


def _sequence(loader: _Loader, node: yaml.SequenceNode) -> list[Any]:
    return [loader.construct_object(item, deep=True) for item in node.value]


def _number(loader: _Loader, node: yaml.ScalarNode) -> float:
    number = loader.construct_yaml_float(node)
    if not math.isfinite(number):
        raise Invalid("invalid_yaml", f"{node.value} is not a number{_at(node.start_mark)}")
    return number


_JSON_TAGS: Final = ("null", "bool", "int", "str")
_Loader.yaml_constructors = {
    tag: yaml.CSafeLoader.yaml_constructors[tag]
    for tag in (None, *(f"tag:yaml.org,2002:{name}" for name in _JSON_TAGS))
}  # None stands for every other tag: it is refused
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(("timestamp", "merge", "value"))]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:seq", _sequence)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)


def yaml_of(body: bytes) -> Any:  # noqa: ANN401 - what JSON could have said
    """Decode one YAML document, strictly. Raises Invalid `invalid_yaml`. Slow for large documents: call in a thread."""
    try:
        text = body.decode()
        _plain(text)
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a narrowed safe loader
    except UnicodeDecodeError as error:
        raise Invalid("invalid_yaml", f"the body is not UTF-8 at byte {error.start}") from None
    except yaml.MarkedYAMLError as error:
        raise Invalid("invalid_yaml", f"{error.problem or error.context}{_at(error.problem_mark)}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise Invalid("invalid_yaml", f"the body is not YAML: {error}") from None


def _plain(text: str) -> None:
    """Look at the events first: they cost little, and nothing is built of a document that is not taken."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise Invalid("invalid_yaml", f"aliases are not taken{_at(event.start_mark)}")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise _too_deep()
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _at(mark: Any) -> str:  # noqa: ANN401 - the C parser's marks are a class of their own
    return f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""


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
        raise Invalid("invalid_body", f"{problem.path or 'the body'}: {problem.message}", details=(problem,)) from None


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
