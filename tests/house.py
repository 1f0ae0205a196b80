"""Reads the sources of the house, so that tests can hold them to its rules."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parent.parent
PACKAGES: Final = ("heroctl", "api", "reconciler", "eventstore", "agents")
PURE_ROOMS: Final = ("heroctl/domain", "reconciler/planner")
PURE_FILES: Final = (
    "agents/asked.py",
    "agents/caddy.py",
    "agents/bridge.py",
    "agents/container.py",
    "agents/container_user.py",
    "agents/desired.py",
    "agents/docker_config.py",
    "agents/images.py",
    "agents/docker_logs.py",
    "agents/log_lines.py",
    "agents/log_tail.py",
    "agents/login.py",
    "agents/output.py",
    "agents/parcels.py",
    "agents/record.py",
    "agents/rights.py",
    "agents/silence.py",
    "agents/step.py",
    "api/attempts.py",
    "api/permits.py",
    "eventstore/series.py",
    "eventstore/snapshot.py",
    "eventstore/words.py",
    "eventstore/retention.py",
)

AnyFunction = ast.FunctionDef | ast.AsyncFunctionDef


class Function(NamedTuple):
    """One function, with the file it stands in and, for a method, its class."""

    file: Path
    node: AnyFunction
    method: bool

    @property
    def where(self) -> str:
        """File, line and name, as editors understand them."""
        return f"{name(self.file)}:{self.node.lineno} {self.node.name}"

    @property
    def lines(self) -> int:
        """Lines from `def` to the last, the docstring not counted."""
        first = self.node.body[0]
        documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        docstring = (first.end_lineno or first.lineno) - first.lineno + 1 if documented else 0
        return (self.node.end_lineno or self.node.lineno) - self.node.lineno + 1 - docstring

    @property
    def positional(self) -> list[ast.arg]:
        """Parameters that may be given by position, without self or cls."""
        given = [*self.node.args.posonlyargs, *self.node.args.args]
        bound = self.method and not _decorated(self.node, "staticmethod")
        return given[1:] if bound else given

    @property
    def untyped(self) -> list[str]:
        """Names of parameters without a type; `return` for a missing return type."""
        extra = [arg for arg in (self.node.args.vararg, self.node.args.kwarg) if arg is not None]
        missing = [arg.arg for arg in [*self.positional, *self.node.args.kwonlyargs, *extra] if arg.annotation is None]
        return missing if self.node.returns is not None else [*missing, "return"]


def name(file: Path) -> str:
    """Return a file's path within the house."""
    return file.relative_to(ROOT).as_posix()


def product() -> list[Path]:
    """Return every Python file that ships."""
    return [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def tests() -> list[Path]:
    """Return every Python file of the tests, benches and torture."""
    return sorted((ROOT / "tests").rglob("*.py"))


def pure() -> list[Path]:
    """Return the files that may not touch the world."""
    rooms = [file for room in PURE_ROOMS for file in sorted((ROOT / room).rglob("*.py"))]
    return rooms + [ROOT / file for file in PURE_FILES if (ROOT / file).exists()]


def kept() -> list[Path]:
    """Return every text file under version control, or about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    files = [ROOT / path for path in listed.split("\0") if path]
    return [file for file in files if file.is_file() and b"\0" not in file.read_bytes()[:4096]]


@cache
def tree(file: Path) -> ast.Module:
    """Parse a file, once."""
    return ast.parse(file.read_text(), str(file))


def functions(file: Path) -> Iterator[Function]:
    """Yield every function of a file, nested ones and methods included."""
    for parent in ast.walk(tree(file)):
        for node in ast.iter_child_nodes(parent):
            if isinstance(node, AnyFunction):
                yield Function(file, node, isinstance(parent, ast.ClassDef))


def lines_of(file: Path, function: str) -> set[int]:
    """Return the numbers of the lines within functions of this name."""
    spans = (f.node for f in functions(file) if f.node.name == function)
    return {line for node in spans for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Yield line and full name of every module a file imports, wherever in it."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""


def calls(file: Path) -> Iterator[tuple[ast.Call, str]]:
    """Yield every call with the dotted name of what is called, imported names spelled out."""
    spelled = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree(file))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Call):
            head, dot, rest = ast.unparse(node.func).partition(".")
            yield node, f"{spelled.get(head, head)}{dot}{rest}"


def _decorated(node: AnyFunction, decorator: str) -> bool:
    return any(isinstance(each, ast.Name) and each.id == decorator for each in node.decorator_list)
