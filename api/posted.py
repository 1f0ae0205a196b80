"""The spec that a call posts."""

from __future__ import annotations

from typing import Any

from api.call import Call
from heroctl.domain import spec as specs
from heroctl.domain.errors import Invalid, Problem, not_found
from heroctl.domain.validate import parse


async def posted(call: Call) -> specs.Job:
    """Read it. Raises `invalid_spec`."""
    return parse(_named(await call.document(), call.args.get("namespace")))


async def allowed(call: Call) -> specs.Job:
    """Read it, and go on if the caller may make it a version of its job."""
    spec = await posted(call)
    call.allow_spec(spec, absent=not_found("namespace", spec.namespace))
    return spec


def _named(document: Any, namespace: str | None) -> Any:  # noqa: ANN401 - a spec that nobody has judged yet
    """`?namespace=` names the namespace of a spec that names none; the two may not differ."""
    if namespace is None or not isinstance(document, dict):
        return document
    if document.setdefault("namespace", namespace) != namespace:
        problem = Problem("namespace", "invalid_value", f"the query says '{namespace}', the spec another")
        raise Invalid("invalid_spec", f"namespace: {problem.message}", details=(problem,))
    return document
