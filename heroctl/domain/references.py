"""References: `${secret.db_password}` and its like in what a task is given, and what they come to on a node.

A reference has a kind, a dot and a name. `${HOME}` and `${PORT:-80}` have no dot and are left to the program; `$${` is
a literal `${`, whatever follows. What a reference comes to is never read for references again.

Secrets come to a program in its environment and in files, never among its arguments: every user of a host can read
those of every process on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple, TypeVar

from heroctl.domain.errors import Problem
from heroctl.domain.spec import Task

_T = TypeVar("_T")

SECRET: Final = "secret"  # noqa: S105 - a word of the spec
SECRET_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
ALLOC: Final = ("id", "namespace", "job", "task", "slot", "version", "attempt")
KINDS: Final = ("secret", "node", "alloc", "port", "service", "launch")
MOST_SECRETS: Final = 100  # that a task may name
_MOST_TOLD: Final = 10  # problems of one text
# An escape, a reference, or what was surely meant to be one. No two ways to read a text overlap: it is read in one go.
_TOKEN: Final = re.compile(
    r"(?P<escape>\$\$\{)|\$\{(?P<kind>[A-Za-z_]\w*)\.(?P<name>[^${}\s]*)\}"
    rf"|(?P<broken>\$\{{\s*(?:{'|'.join(KINDS)})\.[^\s}}]{{0,80}})"
)
_NODE: Final = re.compile(r"(labels|attributes)\.\S+|[a-z_]+")  # the last: `id`, `name`, `address`, an attribute
_SERVICE: Final = re.compile(r"[a-z0-9-]+\.[a-z0-9-]+\.[a-z0-9_-]+")


class UnknownReference(ValueError):  # noqa: N818 - it says what it is about
    """Something is referred to that is not there."""


class Reference(NamedTuple):
    """What a text refers to: `kind` is the word before the first dot."""

    kind: str
    name: str

    @property
    def key(self) -> str:
        """What it is found by, as `secret.db_password`."""
        return f"{self.kind}.{self.name}"

    def __str__(self) -> str:
        """Spell it as it stands in a text."""
        return f"${{{self.key}}}"


Part = str | Reference


class Text(NamedTuple):
    """A text of a task in which references may stand, and the field that it is."""

    path: str
    text: str


# ── texts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def parse(text: str) -> tuple[Part, ...]:
    """Take a text apart: literal text, which is never empty nor next to another, and references."""
    if "${" not in text:
        return (text,) if text else ()
    parts: list[Part] = []
    literal, end = "", 0
    for match in _TOKEN.finditer(text):
        literal += text[end : match.start()]
        end = match.end()
        if match["kind"] is None:
            literal += "${" if match["escape"] else match[0]
            continue
        parts += [literal] if literal else []
        parts.append(Reference(match["kind"], match["name"]))
        literal = ""
    literal += text[end:]
    return (*parts, literal) if literal else tuple(parts)


def escape(literal: str) -> str:
    """Write a text so that it stands for itself."""
    return literal.replace("${", "$${")


def render(text: str, known: Mapping[str, str]) -> str:
    """Fill a text in. `known` has values by key; UnknownReference says what it lacks, never what it has."""
    return "".join(_value(part, known) if isinstance(part, Reference) else part for part in parse(text))


def render_bytes(text: str, known: Mapping[str, bytes]) -> bytes:
    """Fill in what becomes a file, whose secrets need not be texts; see `render`."""
    return b"".join(_value(part, known) if isinstance(part, Reference) else part.encode() for part in parse(text))


def _value(part: Reference, known: Mapping[str, _T]) -> _T:
    found = known.get(part.key)
    if found is None:
        raise UnknownReference(f"{part} means nothing on this node")
    return found


# ── tasks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def texts(task: Task) -> Iterator[Text]:
    """Give all texts of a task that are filled in on its node."""
    yield from arguments(task)
    yield from (Text(f"env.{name}", value) for name, value in task.env.items())
    yield from (Text(f"files[{number}].content", file.content) for number, file in enumerate(task.files))
    if task.image_auth is not None:
        yield Text("image_auth", task.image_auth)


def arguments(task: Task) -> Iterator[Text]:
    """Give those of them that everybody on the host can read."""
    yield from (Text(f"command[{number}]", word) for number, word in enumerate(task.command))
    yield from (Text(f"args[{number}]", word) for number, word in enumerate(task.args))


def references(task: Task) -> Iterator[tuple[str, Reference]]:
    """Give every reference of a task with the path of its field."""
    for path, text in texts(task):
        yield from ((path, part) for part in parse(text) if isinstance(part, Reference))


def secrets(task: Task) -> tuple[str, ...]:
    """Name the secrets that a task uses, each once, sorted."""
    return tuple(sorted({name for _, (kind, name) in references(task) if kind == SECRET}))


def content_secrets(task: Task) -> tuple[str, ...]:
    """Name those that its containers are made from, sorted. What only pulls the image is none of them."""
    found = {name for path, (kind, name) in references(task) if kind == SECRET and path != "image_auth"}
    return tuple(sorted(found))


def pull_secret(task: Task) -> str:
    """Name the secret that does no more than pull its image; "": there is none."""
    return next((name for name in secrets(task) if name not in content_secrets(task)), "")


# ── problems ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def problems(task: Task, path: str) -> Iterator[Problem]:
    """Say which references of a task can come to nothing anywhere, or must not stand where they do."""
    exposed = {text.path for text in arguments(task)}
    for field, text in texts(task):
        matches = _TOKEN.finditer(text) if "${" in text else ()
        said = (_wrong(match, task, exposed=field in exposed) for match in matches)
        wrong = (each for each in said if each is not None)
        yield from (Problem(f"{path}.{field}", "invalid_reference", each) for each in islice(wrong, _MOST_TOLD))
    if len(secrets(task)) > MOST_SECRETS:
        yield Problem(path, "out_of_range", f"a task may name at most {MOST_SECRETS} secrets")


def _wrong(match: re.Match[str], task: Task, *, exposed: bool) -> str | None:
    if match["broken"]:
        return f"{match['broken']!r} is not a whole reference: write ${{KIND.NAME}}, or $${{ for a literal ${{"
    if match["escape"]:
        return None
    known = _RULES.get(match["kind"])
    if known is None:
        kinds = ", ".join(KINDS)
        return f"{match[0]} refers to nothing: known are {kinds}; write $${{ for a literal ${{"
    if exposed and match["kind"] == SECRET:
        return f"{match[0]}: everybody on the host can read a program's arguments: put it into env or files"
    said = known(match["name"], task)
    return None if said is None else f"{match[0]}: {said}"


def _of_secret(name: str, _: Task) -> str | None:
    return None if SECRET_NAME.fullmatch(name) else "a secret's name has 1 to 63 of a-z, A-Z, 0-9, '_', '.' and '-'"


def _of_node(name: str, _: Task) -> str | None:
    return None if _NODE.fullmatch(name) else "of a node there are id, name, address, labels.KEY and attributes.KEY"


def _of_alloc(name: str, _: Task) -> str | None:
    return None if name in ALLOC else f"of an allocation there are {', '.join(ALLOC)}"


def _of_port(name: str, task: Task) -> str | None:
    return None if name in task.ports else f"the task has no port '{name}'"


def _of_service(name: str, _: Task) -> str | None:
    return None if _SERVICE.fullmatch(name) else "write ${service.JOB.TASK.PORT}"


def _of_launch(name: str, _: Task) -> str | None:
    known = name in ("number", "payload") or name.startswith("meta.")
    return None if known else "of a launch there are number, payload and meta.KEY"


_RULES: Final[dict[str, Callable[[str, Task], str | None]]] = {
    SECRET: _of_secret,
    "node": _of_node,
    "alloc": _of_alloc,
    "port": _of_port,
    "service": _of_service,
    "launch": _of_launch,
}
