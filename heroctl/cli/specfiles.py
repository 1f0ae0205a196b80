"""Files of job specs: found, read and judged here, without a server."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from heroctl.cli.faults import Fault, Problem

if TYPE_CHECKING:  # reading the job model takes longer than most commands
    from heroctl.domain import spec as specs

JSON: Final = "application/json"
YAML: Final = "application/yaml"
SUFFIXES: Final = {".json": JSON, ".yaml": YAML, ".yml": YAML}


class SpecFile(NamedTuple):
    """A spec as somebody wrote it. `kind`: what it is written in, as a Content-Type."""

    name: str
    content: bytes
    kind: str

    def document(self) -> Any:  # noqa: ANN401 - what JSON could have said
        """Decode it, as strictly as the API does. Raises Invalid."""
        from heroctl.document import json_of, yaml_of

        return json_of(self.content) if self.kind == JSON else yaml_of(self.content)


class Judged(NamedTuple):
    """What a spec is worth. `job` is None where there are problems; `document` is as it was written."""

    file: SpecFile
    document: Any
    job: specs.Job | None
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def read_spec(file: str) -> SpecFile:
    """Read a file, or stdin for `-`, and say what it is written in."""
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except IsADirectoryError:
        raise Fault(f"{file} is a folder", hints=[f"for all specs in it: heroctl apply -f {file}"]) from None
    except OSError as error:
        raise Fault(f"{file} cannot be read: {error.strerror}", hints=["for a new one: heroctl init FILE"]) from error
    name = "stdin" if file == "-" else file
    if not content.strip():
        raise Fault(f"{name} is empty", hints=["see what a spec looks like: heroctl init -"])
    guessed = JSON if content.lstrip()[:1] == b"{" else YAML
    return SpecFile(name, content, SUFFIXES.get(Path(file).suffix.lower(), guessed))


def spec_files(places: Sequence[str]) -> list[SpecFile]:
    """Read all specs of some files and folders: those in folders within them, too, but nothing hidden."""
    names = [name for place in places for name in (_within(Path(place)) if Path(place).is_dir() else [place])]
    return [read_spec(name) for name in dict.fromkeys(names)]


def _within(folder: Path) -> Iterator[str]:
    found = False
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in SUFFIXES and not hidden and path.is_file():
            found = True
            yield str(path)
    if not found:
        raise Fault(f"{folder} holds no job specs (*.yaml, *.yml, *.json)", hints=[f"heroctl init {folder}/web.yaml"])


def judge(file: SpecFile) -> Judged:
    """Judge a spec as the API of this release does."""
    from heroctl.domain.errors import Invalid
    from heroctl.domain.validate import parse, warnings

    document = None
    try:
        document = file.document()
        job = parse(document)
    except Invalid as refusal:
        problems = tuple(Problem(each.path, each.code, each.message) for each in refusal.details)
        return Judged(file, document, None, problems or (Problem("", refusal.code, refusal.message),))
    doubts = tuple(Problem(each.path, each.code, each.message) for each in warnings(job))
    return Judged(file, document, job, (), doubts)
