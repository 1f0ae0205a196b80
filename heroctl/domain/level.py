"""Fields of the job spec that came later, and the level of the log from which they may be used.

To an older release such a field does not exist: it would plan, and run, something else than was asked for. So it is
taken only once the log's level says that no such release is left. Left out, it means «as before».
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from msgspec import NODEFAULT, Struct, structs

from heroctl.domain.spec import Job

FIELDS: Final[dict[tuple[type[Struct], str], int]] = {}  # by struct of the spec and name of its field


def beyond(job: Job, level: int) -> str | None:
    """Name the first field of a spec that a log at this level does not take yet."""
    late = {field for field, needed in FIELDS.items() if needed > level}
    return next(_said(job, late, ""), None) if late else None


def _said(value: Any, late: set[tuple[type[Struct], str]], path: str) -> Iterator[str]:  # noqa: ANN401 - any part of a spec
    if isinstance(value, Struct):
        for field in structs.fields(value):
            given, here = getattr(value, field.name), f"{path}.{field.encode_name}" if path else field.encode_name
            if (type(value), field.name) in late and given != default_of(field):
                yield here
            yield from _said(given, late, here)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _said(item, late, f"{path}.{key}")
    elif isinstance(value, tuple):
        for number, item in enumerate(value):
            yield from _said(item, late, f"{path}[{number}]")


def default_of(field: structs.FieldInfo) -> object:
    """Return what a field is where nothing was said; NODEFAULT: something must be."""
    return field.default_factory() if field.default_factory is not NODEFAULT else field.default
