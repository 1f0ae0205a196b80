"""What dev mode prints: results on stdout; on stderr what it does, and its children's output behind their names."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from typing import Any, Final, TextIO

import msgspec

_COLOURS: Final = (36, 33, 35, 34, 32, 96, 93, 95, 94, 92)
_WIDTH: Final = 10
_CONTROL: Final = re.compile(r"[\x00-\x1a\x1c-\x1f\x7f]+")
_ESCAPE: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b")
_LOUD: Final = {"warning": 33, "error": 31, "critical": 31}
_DROPPED: Final = ("timestamp", "time", "level", "event", "logger", "process")


class Screen:
    """Prints lines whole, each child in a colour of its own."""

    def __init__(self) -> None:
        self._colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._given: dict[str, int] = {}

    def say(self, text: str) -> None:
        """Say what dev mode does."""
        self._print("dev", text)

    def child(self, name: str, line: str) -> None:
        """Show a line of a child's output; a line of JSON is spelled for people."""
        self._print(name, self._spelled(line))

    def result(self, text: str) -> None:
        """Print a result."""
        _write(sys.stdout, text)

    def _print(self, name: str, text: str) -> None:
        label = f"{name:<{_WIDTH}} │"
        if self._colours:
            label = self._painted(label, 1 if name == "dev" else self._colour(name))
        else:
            text = _ESCAPE.sub("", text)
        _write(sys.stderr, f"{label} {_CONTROL.sub(' ', text)}")

    def _colour(self, name: str) -> int:
        return self._given.setdefault(name, _COLOURS[len(self._given) % len(_COLOURS)])

    def _painted(self, text: str, colour: int) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours and colour else text

    def _spelled(self, line: str) -> str:
        if not line.startswith("{"):
            return line
        try:
            record = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError:
            return line
        level = str(record.get("level", "info"))
        told = " ".join(f"{key}={_value(value)}" for key, value in record.items() if key not in _DROPPED)
        event = self._painted(f"{level:<7} {record.get('event', '')}", _LOUD.get(level, 0))
        return f"{event} {told}".rstrip()


def _write(stream: TextIO, line: str) -> None:
    # Whoever read may have gone, as `head` does. The cluster is not less for that.
    with contextlib.suppress(BrokenPipeError):
        stream.write(line + "\n")
        stream.flush()


def _value(value: Any) -> str:  # noqa: ANN401 - any JSON
    text = _CONTROL.sub(" ", value) if isinstance(value, str) else msgspec.json.encode(value).decode()
    return f'"{text}"' if " " in text else text
