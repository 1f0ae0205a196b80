"""The file of contexts: which clusters there are, how to reach them, as whom, and which one is meant by default.

`~/.config/heroctl/config.toml`, or what HEROCTL_CONTEXTS names; readable by its owner alone, written whole or not at
all.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct, field

from heroctl.cli.faults import Fault


class Context(Struct, frozen=True, omit_defaults=True):
    """A cluster and who we are there. A session's token is renewed with `refresh_token`; an ACL token has none."""

    address: str
    token: str = ""
    refresh_token: str = ""
    expires_at: str = ""
    username: str = ""
    namespace: str = ""
    ca_cert: str = ""


class Contexts(Struct, frozen=True):
    """All that the file holds."""

    current: str = ""
    contexts: dict[str, Context] = field(default_factory=dict)


def place(environ: Mapping[str, str]) -> Path:
    """Tell where the file is."""
    if named := environ.get("HEROCTL_CONTEXTS"):
        return Path(named).expanduser()
    base = environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "heroctl" / "config.toml"


def load(path: Path) -> Contexts:
    """Read the file; no file is no contexts."""
    return _parse(path)[0]


@contextlib.contextmanager
def changing(path: Path) -> Iterator[dict[str, Context]]:
    """Change the contexts while nobody else does: yields them by name and writes what is left in there."""
    with _locked(path):
        kept, foreign = _parse(path)
        if foreign:
            message = f"{path} holds other settings too ({', '.join(foreign)}), and would lose them"
            raise Fault(message, hints=["name another file in HEROCTL_CONTEXTS"])
        contexts = dict(kept.contexts)
        yield contexts
        current = kept.current if kept.current in contexts else next(iter(contexts), "")
        _write(path, Contexts(current, contexts))


def select(path: Path, name: str) -> None:
    """Make a context the current one. It must be there."""
    with _locked(path):
        _write(path, Contexts(name, load(path).contexts))


_KNOWN: Final = set(Contexts.__struct_fields__)


def _parse(path: Path) -> tuple[Contexts, list[str]]:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return Contexts(), []
    except OSError as error:
        raise Fault(
            f"{path} cannot be read: {error.strerror}", hints=["name another file in HEROCTL_CONTEXTS"]
        ) from error
    try:
        document = msgspec.toml.decode(text)
        return msgspec.convert(document, Contexts), sorted(set(document) - _KNOWN)
    except (msgspec.MsgspecError, ValueError) as error:
        raise Fault(
            f"{path} is not a file of contexts: {error}", hints=["repair it, or remove it and log in"]
        ) from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise Fault(
            f"{path} cannot be written: {error.strerror}", hints=["name another file in HEROCTL_CONTEXTS"]
        ) from error
    with os.fdopen(descriptor) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(path: Path, contexts: Contexts) -> None:
    # mkstemp makes the file 0600; the rename makes it whole.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(_toml(contexts))
    Path(name).replace(path)


def _toml(contexts: Contexts) -> str:
    lines = [f"current = {_quoted(contexts.current)}"]
    for name, context in sorted(contexts.contexts.items()):
        lines += ["", f"[contexts.{_quoted(name)}]"]
        lines += [f"{key} = {_quoted(value)}" for key, value in msgspec.to_builtins(context).items()]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    # A JSON string is a TOML string, but for DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
