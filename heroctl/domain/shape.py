"""JSON Schema of our structs: what msgspec says of values, put together so that Duration, Size and their defaults fit.

Each struct becomes a definition of its own, under its name and with its docstring; fields have their JSON names.
"""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

import msgspec
from msgspec import Meta, Struct, UnsetType, structs

from heroctl.domain.duration import Duration, Size
from heroctl.domain.spec import encode_hook

Schema = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_AMOUNTS: Final[dict[type, Schema]] = {
    Duration: {
        "description": "A length of time: `30s`, `5m`, `1h30m`, `250ms`; a bare number is seconds. At most 366 days.",
        "examples": ["30s"],
        "anyOf": [
            {"type": "string", "pattern": r"^((\d+(\.\d+)?(ms|d|h|m|s))+|0)$"},
            {"type": "number", "minimum": 0, "maximum": 366 * 86_400},
        ],
    },
    Size: {
        "description": "A number of bytes: `256MB`, `1GiB`; a bare number is bytes. At most 1 EiB.",
        "examples": ["256MB"],
        "anyOf": [
            {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(TiB|GiB|MiB|KiB|TB|GB|MB|KB|kB|B)?$"},
            {"type": "integer", "minimum": 0, "maximum": 1 << 60},
        ],
    },
}


class Shapes:
    """Collects definitions; `at` is where they will stand, such as `#/$defs/`."""

    def __init__(self, at: str = "#/$defs/") -> None:
        self.definitions: dict[str, Schema] = {}
        self._kinds: dict[str, type[Struct]] = {}
        self._at = at

    def of(self, kind: Any) -> Schema:  # noqa: ANN401 - any type that has JSON
        """Give the schema of a type, and define the structs in it."""
        origin, args = get_origin(kind), get_args(kind)
        if origin is Annotated:
            return self._annotated(args[0], args[1:])
        if origin in (Union, UnionType):
            return self._either([each for each in args if each is not UnsetType])
        if origin in (list, tuple):
            return {"type": "array", "items": self.of(args[0])}
        if origin is dict:
            return {"type": "object", "additionalProperties": self.of(args[1])}
        if kind in _AMOUNTS:
            return self._defined(kind.__name__, dict(_AMOUNTS[kind]))
        if isinstance(kind, type) and issubclass(kind, Struct):
            return self._struct(kind)
        return {} if kind in (msgspec.Raw, Any, object) else msgspec.json.schema(kind)

    def _annotated(self, kind: Any, given: tuple[Any, ...]) -> Schema:  # noqa: ANN401 - as of
        schema = self.of(kind)
        for meta in given:
            if isinstance(meta, Meta) and meta.extra_json_schema:
                schema = {**schema, **meta.extra_json_schema}
            elif isinstance(meta, Meta):
                schema = msgspec.json.schema(Annotated[kind, meta])
        return schema

    def _either(self, kinds: list[Any]) -> Schema:
        if len(kinds) == 1:
            return self.of(kinds[0])
        [inner, *others] = [self.of(each) for each in sorted(kinds, key=lambda each: each is NoneType)]
        if others == [{"type": "null"}] and isinstance(inner.get("type"), str) and "enum" not in inner:
            return {**inner, "type": [inner["type"], "null"]}
        return {"anyOf": [inner, *others]}

    def _defined(self, name: str, schema: Schema) -> Schema:
        self.definitions.setdefault(name, schema)
        return {"$ref": self._at + name}

    def _struct(self, kind: type[Struct]) -> Schema:
        name = kind.__name__
        if self._kinds.setdefault(name, kind) is not kind:
            raise TypeError(f"two shapes are called {name}: {kind.__module__} and {self._kinds[name].__module__}")
        if name not in self.definitions:
            schema = self.definitions[name] = {"type": "object", "description": " ".join((kind.__doc__ or "").split())}
            schema["properties"] = {field.encode_name: self._field(field) for field in structs.fields(kind)}
            required = [field.encode_name for field in structs.fields(kind) if field.required]
            if required:
                schema["required"] = required
            if kind.__struct_config__.forbid_unknown_fields:
                schema["additionalProperties"] = False
        return {"$ref": self._at + name}

    def _field(self, field: structs.FieldInfo) -> Schema:
        schema = self.of(field.type)
        if field.default is msgspec.UNSET or field.required:
            return schema
        default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        return {**schema, "default": msgspec.json.decode(msgspec.json.encode(default, enc_hook=encode_hook))}
