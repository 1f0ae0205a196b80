"""Documents that people wrote: JSON and YAML, decoded strictly, by the API and on the command line alike.

Stricter than the libraries are by themselves: no duplicate keys (the last would win in silence), no NaN, no lone
surrogates, no deep nesting, no YAML aliases (a small document could stand for a huge one), no YAML types that JSON has
not.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable
from typing import Any, Final, NoReturn

import msgspec
import yaml

from heroctl.domain.errors import Invalid

DEEPEST: Final = 32
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")

# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def json_of(content: bytes) -> Any:  # noqa: ANN401 - JSON
    """Decode JSON, strictly. Raises Invalid `invalid_json`."""
    try:
        value = json.loads(content.decode(), object_pairs_hook=_object, parse_constant=_no_number, parse_float=_float)
    except UnicodeDecodeError as error:
        raise Invalid("invalid_json", f"the document is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise Invalid("invalid_json", f"the document is not JSON: {error}") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:  # a number of thousands of digits
        raise Invalid("invalid_json", f"the document is not JSON: {error}") from None
    _depth(value)
    if _SURROGATE.search(content):
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
    raise Invalid("invalid_json", f"the document is not JSON: {word} is not a number")


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
    return Invalid("too_deep", f"the document is nested deeper than {DEEPEST} levels")


def _whole_characters(value: Any) -> None:  # noqa: ANN401 - JSON
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError:
        raise Invalid("invalid_json", "the document holds half of a surrogate pair: it is not Unicode text") from None


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


def yaml_of(content: bytes) -> Any:  # noqa: ANN401 - what JSON could have said
    """Decode one YAML document, strictly. Raises Invalid `invalid_yaml`. Slow for large documents: call in a thread."""
    try:
        text = content.decode()
        _plain(text)
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a narrowed safe loader
    except UnicodeDecodeError as error:
        raise Invalid("invalid_yaml", f"the document is not UTF-8 at byte {error.start}") from None
    except yaml.MarkedYAMLError as error:
        raise Invalid("invalid_yaml", f"{error.problem or error.context}{_at(error.problem_mark)}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise Invalid("invalid_yaml", f"the document is not YAML: {error}") from None


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
