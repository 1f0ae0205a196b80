"""Compares two OpenAPI documents: what a client of the older one would miss in the newer.

v1 only grows. Taking away is a route, a parameter, a status, a code, a field of an answer, or a type that changes;
asking for more is a parameter or a field of a body that is needed now, or a value that is taken no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

Schema = dict[str, Any]

_METHODS: Final = ("get", "post", "put", "patch", "delete")
_DEEPEST: Final = 12


def losses(old: Schema, new: Schema) -> list[str]:
    """List everything that is lost, in words that say where."""
    old, new = whole(old), whole(new)
    return [
        loss
        for path, operations in old["paths"].items()
        for method, operation in operations.items()
        if method in _METHODS
        for loss in _Pair(old, new).operation(f"{method.upper()} {path}", operation, _at(new, path, method))
    ]


def whole(document: Schema) -> Schema:
    """Put the answers that routes share where they are referred to."""
    shared = document["components"].get("responses", {})

    def put(operation: Schema) -> Schema:
        answers = operation["responses"].items()
        return {**operation, "responses": {status: _shared(each, shared) for status, each in answers}}

    paths = {path: {method: put(each) for method, each in some.items()} for path, some in document["paths"].items()}
    return {**document, "paths": paths}


def _shared(answer: Schema, shared: Schema) -> Schema:
    found: Schema = shared[answer["$ref"].rpartition("/")[2]] if "$ref" in answer else answer
    return found


def _at(document: Schema, path: str, method: str) -> Schema | None:
    found: Schema | None = document["paths"].get(path, {}).get(method)
    return found


class _Pair:
    """The older and the newer document, whose references are followed each in its own."""

    def __init__(self, old: Schema, new: Schema) -> None:
        self._old = old
        self._new = new

    def operation(self, where: str, old: Schema, new: Schema | None) -> Iterator[str]:
        """Compare a route's parameters, bodies and answers."""
        if new is None:
            yield f"{where}: the route is gone"
            return
        yield from self._parameters(where, old["parameters"], new["parameters"])
        yield from self._bodies(where, old.get("requestBody"), new.get("requestBody"))
        for status, answer in old["responses"].items():
            if status not in new["responses"]:
                yield f"{where}: the status {status} is gone"
            else:
                yield from self._answers(f"{where} {status}", answer, new["responses"][status])

    def _parameters(self, where: str, old: list[Schema], new: list[Schema]) -> Iterator[str]:
        were, are = ({(each["in"], each["name"]): each for each in some} for some in (old, new))
        for key, known in were.items():
            if key not in are:
                yield f"{where}: the {key[0]} parameter {key[1]} is gone"
            else:
                yield from self._taken(f"{where}: {key[1]}", known["schema"], are[key]["schema"])
        for key in are.keys() - were.keys():
            if are[key].get("required"):
                yield f"{where}: the {key[0]} parameter {key[1]} is needed now"

    def _bodies(self, where: str, old: Schema | None, new: Schema | None) -> Iterator[str]:
        if new is None:
            if old is not None:
                yield f"{where}: a body is not taken any more"
            return
        if new["required"] and not (old and old["required"]):
            yield f"{where}: a body is needed now"
        for media, content in (old["content"] if old else {}).items():
            if media not in new["content"]:
                yield f"{where}: a body of {media} is not taken any more"
            else:
                yield from self._taken(f"{where}: body", content["schema"], new["content"][media]["schema"])

    def _answers(self, where: str, old: Schema, new: Schema) -> Iterator[str]:
        for name in old.get("headers", {}).keys() - new.get("headers", {}).keys():
            yield f"{where}: the header {name} is gone"
        for media, content in old.get("content", {}).items():
            if media not in new.get("content", {}):
                yield f"{where}: no {media} any more"
                continue
            yield from self._given(where, content["schema"], new["content"][media]["schema"])
            for code in content.get("examples", {}).keys() - new["content"][media].get("examples", {}).keys():
                yield f"{where}: the code {code} is gone"

    # ── schemas ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _given(self, where: str, old: Schema, new: Schema, depth: int = 0) -> Iterator[str]:
        """Compare what is answered: every field stays, as sure as it was, and of no other type."""
        was, now = _kinds(self._old, old), _kinds(self._new, new)
        old, new = _followed(self._old, old), _followed(self._new, new)
        if depth > _DEEPEST:
            return
        if "anyOf" in new and ("properties" in old or "anyOf" in old):  # each of them has to be as good
            before = old.get("anyOf", [old] * len(new["anyOf"]))
            for each, choice in zip(before, new["anyOf"], strict=False):
                yield from self._given(where, each, choice, depth + 1)
            return
        if (was and not now <= _enough(was)) or (was and not now):
            yield f"{where}: was {' or '.join(sorted(was))}, is {' or '.join(sorted(now)) or 'anything'}"
        for name, field in old.get("properties", {}).items():
            if name not in new.get("properties", {}):
                yield f"{where}.{name}: the field is gone"
                continue
            if name in old.get("required", ()) and name not in new.get("required", ()):
                yield f"{where}.{name}: the field is not always there any more"
            yield from self._given(f"{where}.{name}", field, new["properties"][name], depth + 1)
        yield from self._inner(where, old, new, depth, self._given)

    def _taken(self, where: str, old: Schema, new: Schema, depth: int = 0) -> Iterator[str]:
        """Compare what is taken: what was good once is good still."""
        was, now = _kinds(self._old, old), _kinds(self._new, new)
        old, new = _followed(self._old, old), _followed(self._new, new)
        if depth > _DEEPEST:
            return
        if (now and not was <= _enough(now)) or (now and not was):
            yield f"{where}: took {' or '.join(sorted(was)) or 'anything'}, takes {' or '.join(sorted(now))}"
        less = set(map(str, old.get("enum", ()))) - set(map(str, new.get("enum") or old.get("enum", ())))
        if less:
            yield f"{where}: {', '.join(sorted(less))} is not taken any more"
        for name in set(new.get("required", ())) - set(old.get("required", ())):
            yield f"{where}.{name}: is needed now"
        for name, field in old.get("properties", {}).items():
            if name not in new.get("properties", {}):
                yield f"{where}.{name}: the field is gone"
            else:
                yield from self._taken(f"{where}.{name}", field, new["properties"][name], depth + 1)
        yield from self._inner(where, old, new, depth, self._taken)

    def _inner(self, where: str, old: Schema, new: Schema, depth: int, compare: Any) -> Iterator[str]:  # noqa: ANN401 - one of the two
        for word, sign in (("items", "[]"), ("additionalProperties", ".*")):
            if isinstance(old.get(word), dict) and isinstance(new.get(word), dict):
                yield from compare(f"{where}{sign}", old[word], new[word], depth + 1)


def _followed(document: Schema, schema: Schema) -> Schema:
    """Follow references; `anyOf` one thing or null is that thing."""
    while "$ref" in schema or "anyOf" in schema:
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
            continue
        others = [each for each in schema["anyOf"] if each != {"type": "null"}]
        if len(others) != 1 or "properties" in schema:
            break
        schema = {**others[0]}
    return schema


_JSON: Final = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}


def _kinds(document: Schema, schema: Schema) -> set[str]:
    """Give the types that a value may have; nothing: any."""
    if "$ref" in schema:
        return _kinds(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "type" in schema:
        return {schema["type"]} if isinstance(schema["type"], str) else set(schema["type"])
    if "enum" in schema:
        return {_JSON.get(type(each), "null") for each in schema["enum"]}
    return {kind for choice in schema.get("anyOf", ()) for kind in _kinds(document, choice)}


def _enough(kinds: set[str]) -> set[str]:
    """A whole number is a number."""
    return kinds | {"integer"} if "number" in kinds else kinds
