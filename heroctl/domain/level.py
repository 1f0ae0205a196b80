"""Fields of the job spec that came later, and the level of the log from which they may be used.

To an older release such a field does not exist: it would plan, and run, something else than was asked for. So it is
taken only once the log's level says that no such release is left. Left out, it means «as before».
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final

from msgspec import NODEFAULT, Struct, structs

from heroctl.domain.spec import Job

Field = tuple[type[Struct], str]
FIELDS: Final[dict[Field, int]] = {}  # by struct of the spec and name of its field


def beyond(job: Job, level: int) -> str | None:
    """Name the first field of a spec that a log at this level does not take yet."""
    late = {field for field, needed in FIELDS.items() if needed > level}
    return next((path for _, path in said(job, late)), None)


def said(job: Job, fields: Collection[Field]) -> Iterator[tuple[Field, str]]:
    """Give those of some fields that a spec says something else than the default in, each with its path."""
    return _said(job, fields, "") if fields else iter(())


def _said(value: Any, fields: Collection[Field], path: str) -> Iterator[tuple[Field, str]]:  # noqa: ANN401 - any part of a spec
    if isinstance(value, Struct):
        for field in structs.fields(value):
            given, here = getattr(value, field.name), f"{path}.{field.encode_name}" if path else field.encode_name
            known = (type(value), field.name)
            if known in fields and given != default_of(field):
                yield known, here
            yield from _said(given, fields, here)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _said(item, fields, f"{path}.{key}")
    elif isinstance(value, tuple):
        for number, item in enumerate(value):
            yield from _said(item, fields, f"{path}[{number}]")


def default_of(field: structs.FieldInfo) -> object:
    """Return what a field is where nothing was said; NODEFAULT: something must be."""
    return field.default_factory() if field.default_factory is not NODEFAULT else field.default
