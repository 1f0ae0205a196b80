"""What the processes of the cluster say of themselves: one line an event, as JSON or for people, nothing secret in it.

Each process sets itself up once. The level may change while it runs: `follow` is told what the cluster's settings ask
for, and goes back to the process's own level when they ask for nothing.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

import structlog
from msgspec import json
from structlog.processors import ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["json", "console"]

LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
MASK: Final = "***"
# Names of what is kept to oneself, and what it looks like wherever it stands: passwords in URLs, our own tokens, JWTs,
# and what somebody wrote behind such a name.
_NAMED: Final = re.compile(r"(?:^|_)(?:password|passwd|secret|token|authorization|cookie|credential|private_key)s?$")
_SHAPED: Final = re.compile(
    r"(?P<url>://[^:/@\s]*:)[^@/\s]+(?=@)"
    r"|\b(?:ht|rt|hn|hj|whsec|whk)_[A-Za-z0-9_+/=.-]{6,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?"
    r"|(?P<bearer>\b[Bb]earer\s+)[^\s\"',]+"
    r"|(?P<word>\b(?:password|passwd|secret|token)=)[^\s&\"',;]+"
)
# Without the values of variables: there are secrets among them.
_TRACEBACKS: Final = ExceptionRenderer(ExceptionDictTransformer(show_locals=False))


class _Heard:
    """Which lines are written now; `own`: where nobody asks for anything else."""

    own: str = "info"
    level: str = "info"
    least: int = LEVELS["info"]
    format: Format = "json"
    stream: TextIO | None = None  # None: standard output, as it is then


class _Libraries(logging.Handler):
    """Says what libraries have to say in lines of ours: on their own they would write whatever they like."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line of it."""
        told = record.getMessage()
        log = structlog.get_logger(__name__)
        loud = log.error if record.levelno >= logging.ERROR else log.warning
        loud("library", library=record.name, message=told, exc_info=record.exc_info or None)


_LIBRARIES: Final = _Libraries(logging.WARNING)


def configure(level: str, form: Format = "json", stream: TextIO | None = None) -> None:
    """Set this process up: from which level on, how, and on which stream (standard output)."""
    _Heard.own, _Heard.format, _Heard.stream = level, form, stream
    _hear(level)
    people = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    shown: list[Processor] = [redacted, lambda *event: clean(str(people(*event)))]
    structlog.configure(
        processors=[
            _passed,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(shown if form == "console" else [_TRACEBACKS, redacted, structlog.processors.JSONRenderer()]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        logger_factory=structlog.WriteLoggerFactory(stream or sys.stdout),
        cache_logger_on_first_use=True,
    )
    logging.getLogger().addHandler(_LIBRARIES)  # once, however often this is done


def follow(asked: str) -> None:
    """Write from this level on; "": from the process's own. A level that this release does not know changes nothing."""
    wanted = asked or _Heard.own
    if wanted == _Heard.level or wanted not in LEVELS:
        return
    was = _Heard.level
    _hear(min(wanted, was, key=LEVELS.__getitem__))  # on the more talkative of the two
    structlog.get_logger(__name__).log(_Heard.least, "log_level", now=wanted, was=was)
    _hear(wanted)


def _hear(level: str) -> None:
    _Heard.level, _Heard.least = level, LEVELS[level]


def level() -> str:
    """Say from which level on lines are written."""
    return _Heard.level


def is_heard(level: str) -> bool:
    """Tell whether lines of a level are written now."""
    return LEVELS[level] >= _Heard.least


def for_people() -> bool:
    """Tell whether lines are for people to read."""
    return _Heard.format == "console"


def many(event: str, rows: Iterable[Mapping[str, object]], level: Level = "info") -> None:
    """Write a line for each of many things that happened in one moment; what is empty is left out."""
    if not is_heard(level):
        return
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    told = [{name: value for name, value in row.items() if value} for row in rows]
    if for_people():
        texts = [f"{now} [{level:<8}] {event:<30} {words(row)}\n" for row in told]
    else:
        head = {"event": event, "level": level, "timestamp": now}
        texts = [json.encode({**head, **row}).decode() + "\n" for row in told]
    stream = _Heard.stream or sys.stdout
    stream.write(clean("".join(texts)))
    stream.flush()


def words(row: Mapping[str, object]) -> str:
    """Write fields for people, on one line whatever they hold."""
    return " ".join(f"{name}={ascii(str(value))[1:-1]}" for name, value in row.items())


def _passed(_: object, method: str, event: EventDict) -> EventDict:
    if LEVELS.get(method, logging.CRITICAL) < _Heard.least:
        raise structlog.DropEvent
    return event


def redacted(_: object, __: str, event: EventDict) -> EventDict:
    """Mask what is secret in a line: values under telling names, and whatever looks like a password or a token."""
    return {name: _masked(name, value) for name, value in event.items()}


def _masked(name: str, value: Any) -> Any:  # noqa: ANN401 - whatever somebody logs
    if isinstance(value, str | bytes):
        text = value if isinstance(value, str) else value.decode(errors="replace")
        return MASK if text and _NAMED.search(name.lower()) else clean(text)
    if isinstance(value, Mapping):
        return {key: _masked(str(key), each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(name, each) for each in value]
    return clean(repr(value)) if isinstance(value, BaseException) else value


def clean(text: str) -> str:
    """Mask what looks like a password or a token in a text."""
    return _SHAPED.sub(_mask, text)


def _mask(found: re.Match[str]) -> str:
    return (found["url"] or found["bearer"] or found["word"] or "") + MASK
