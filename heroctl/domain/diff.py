"""What is different between two JSON documents: rows for people to read, which say all that there is to say.

Objects are compared field by field. So are lists of things that all have names of their own: each with its namesake,
wherever the two stand. Any other list is one value, as its items mean nothing without each other: a command's words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from heroctl.domain import spec as specs
from heroctl.domain.events import TaskSummary

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")

Place = Callable[[str, str], str]  # the path of what has a name within something that has a path


class Difference(Struct, frozen=True):
    """One place, as `tasks[web].env.PORT`: what stood there and what stands there now; null where nothing does.

    `tasks[].name` says that the same tasks stand in another order.
    """

    path: str
    kind: Literal["added", "removed", "changed"]
    from_: Any = msgspec.field(name="from")
    to: Any


def diff(old: Any, new: Any) -> list[Difference]:  # noqa: ANN401 - any JSON
    """Tell what to change about a document so that it becomes another one; about an equal one: nothing."""
    return list(_compare("", old, new))


def document(spec: specs.Job, made: Iterable[TaskSummary] = ()) -> Any:  # noqa: ANN401 - any JSON
    """Give a spec as the JSON that it is kept as, with every default as this release has it.

    `made`: what its tasks are made with; then those that use secrets have them as `secrets`, by name and version.
    """
    found = msgspec.json.decode(specs.encode(spec))
    pins = {task.name: task.secrets for task in made if task.pins}
    for task in found["tasks"] if pins else ():
        if task["name"] in pins:
            task["secrets"] = pins[task["name"]]
    return found


def _compare(path: str, old: Any, new: Any) -> Iterator[Difference]:  # noqa: ANN401 - any JSON
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _each(path, old, new, _field)
        return
    before, after = _by_name(old), _by_name(new)
    if before is not None and after is not None:
        yield from _each(path, before, after, _item)
        yield from _order(path, list(before), list(after))
    elif _ENCODER.encode(old) != _ENCODER.encode(new):  # 1, 1.0 and true are the same to Python
        yield Difference(path, "changed", old, new)


def _each(path: str, old: dict[str, Any], new: dict[str, Any], place: Place) -> Iterator[Difference]:
    for name, value in old.items():
        if name in new:
            yield from _compare(place(path, name), value, new[name])
        else:
            yield Difference(place(path, name), "removed", value, None)
    for name, value in new.items():
        if name not in old:
            yield Difference(place(path, name), "added", None, value)


def _order(path: str, old: list[str], new: list[str]) -> Iterator[Difference]:
    """What goes leaves no gap, and what comes stands last: more than that is another order."""
    stood = [name for name in old if name in new] + [name for name in new if name not in old]
    if stood != new:
        yield Difference(f"{path}[].name", "changed", stood, new)


def _by_name(value: Any) -> dict[str, Any] | None:  # noqa: ANN401 - any JSON
    """Give the items of a list by their names, if each has one and no two have the same."""
    if not isinstance(value, list):
        return None
    named = {each["name"]: each for each in value if isinstance(each, dict) and isinstance(each.get("name"), str)}
    return named if len(named) == len(value) else None


def _field(path: str, name: str) -> str:
    if not _PLAIN.fullmatch(name):
        return f"{path}[{_quoted(name)}]"
    return f"{path}.{name}" if path else name


def _item(path: str, name: str) -> str:
    return f"{path}[{name if _PLAIN.fullmatch(name) else _quoted(name)}]"


def _quoted(name: str) -> str:
    return msgspec.json.encode(name).decode()
