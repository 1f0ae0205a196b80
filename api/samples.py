"""Examples for the documentation, made from the schemas, so that a new field has one at once.

A word of the table below stands where a property of that name is a text; everything else gets the least that fits.
"""

from __future__ import annotations

from typing import Any, Final

from heroctl.domain.shape import Schema

_TIME: Final = "2026-03-01T12:00:00.000Z"
_WORDS: Final[dict[str, Any]] = {
    "actor": "user:admin",
    "address": "192.0.2.9",
    "by": "user:admin",
    "chain": "9f2c51d0b7a64e7fa1c05d6de8b94c27",
    "coordinator": "reconciler-a1",
    "deployment": "d-5f0c2a91",
    "deployment_id": "d-5f0c2a91",
    "driver": "docker",
    "eligibility": "eligible",
    "error": "job_not_found",
    "health": "healthy",
    "image": "nginx:1.29-alpine",
    "job": "shop",
    "code": "no_health_check",
    "message": "task 'web' has no health check: it counts as healthy as soon as it runs",
    "path": "tasks[0].health",
    "name": "shop",
    "namespace": "default",
    "namespaces": "default",
    "node": "server-2",
    "password": "correct horse battery staple",
    "refresh_token": "rt_8f3a0000000000000000000000000000_1_7c1d",
    "request_id": "req_a1b2c3",
    "role": "api",
    "roles": "deployer",
    "secret": "ht_a1b2c3d4e5f60718_9e1d",
    "task": "web",
    "token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.c2lnbmF0dXJl",
    "ttl": "24h",
    "type": "service",
    "user": "admin",
    "username": "admin",
    "version": "0.1.0",
}
_DEEPEST: Final = 12


class Sampler:
    """Makes examples of schemas whose references point into `definitions`."""

    def __init__(self, definitions: dict[str, Schema]) -> None:
        self._definitions = definitions

    def of(self, schema: Schema, name: str = "", depth: int = 0) -> Any:  # noqa: ANN401 - JSON
        """Make one; `name` is the property's."""
        if "$ref" in schema and "default" not in schema:
            return self.of(self._definitions[schema["$ref"].rpartition("/")[2]], name, depth)
        for given in ("examples", "enum"):
            if schema.get(given):
                return schema[given][0]
        if "default" in schema:
            return schema["default"]
        for choice in ("anyOf", "oneOf"):
            if choice in schema and "properties" not in schema:
                return self.of(schema[choice][0], name, depth)
        kind = schema.get("type", "object")
        kind = kind[0] if isinstance(kind, list) else kind
        return self._of_kind(kind, schema, name, depth)

    def _of_kind(self, kind: str, schema: Schema, name: str, depth: int) -> Any:  # noqa: ANN401 - JSON
        match kind:
            case "object" if depth < _DEEPEST:
                return self._object(schema, depth)
            case "array" if depth < _DEEPEST:
                return [self.of(schema.get("items", {}), name, depth + 1)]
            case "string":
                return _text(name)
            case "integer" | "number":
                return max(schema.get("minimum", 1), 1)
            case "boolean":
                return True
            case "null":
                return None
            case _:
                return {} if kind == "object" else []

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        made = {name: self.of(each, name, depth + 1) for name, each in schema.get("properties", {}).items()}
        more = schema.get("additionalProperties")
        if isinstance(more, dict) and not made:
            made["web"] = self.of(more, "", depth + 1)
        return made


def _text(name: str) -> Any:  # noqa: ANN401 - a word
    if name in _WORDS:
        return _WORDS[name]
    if name.endswith("_at") or name in ("time", "deadline"):
        return _TIME
    return "a1b2c3d4" if name in ("id", "alloc") else ""
