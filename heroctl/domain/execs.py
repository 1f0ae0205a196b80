"""What passes between who has a command run in an allocation, the api, and the agent that runs it. Pure.

One WebSocket each; the api joins them. Binary messages are data: a byte that names the channel, and what was written.
Text messages say one thing each, in JSON: `start` begins, `exit` or `fault` ends.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

T = TypeVar("T")

PROTOCOL: Final = "heroctl.exec.v1"  # the subprotocol that both ends speak
STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2
PART: Final = 32 * 1024  # bytes of data that a sender puts into one message
MOST: Final = 64 * 1024  # bytes of a message, at most

Side = Annotated[int, Meta(ge=1, le=10_000)]  # columns or rows of a terminal
Word = Annotated[str, Meta(max_length=8_192, pattern=r"^[^\x00]*$")]


class Start(Struct, frozen=True, tag_field="type", tag="start", omit_defaults=True, forbid_unknown_fields=True):
    """What is to be run. `tty`: in a terminal of its own, so many columns wide and rows high."""

    command: Annotated[tuple[Word, ...], Meta(min_length=1, max_length=256)]
    tty: bool = False
    width: Side = 80
    height: Side = 24


class Resize(Struct, frozen=True, tag_field="type", tag="resize"):
    """The terminal has another size now."""

    width: Side
    height: Side


class Eof(Struct, frozen=True, tag_field="type", tag="eof"):
    """Nothing more comes on standard input."""


class Started(Struct, frozen=True, tag_field="type", tag="started"):
    """It runs."""


class Exit(Struct, frozen=True, tag_field="type", tag="exit"):
    """It has ended: 128 + the signal's number where a signal ended it, 126 and 127 where it could not be begun."""

    code: int


class Fault(Struct, frozen=True, tag_field="type", tag="fault"):
    """It was not run, or nobody knows how it ended. `error` is a code of the API's."""

    error: str
    message: str


class Data(Struct, frozen=True):
    """Some of what was written to a channel."""

    channel: int
    data: bytes


Asked = Start | Resize | Eof  # by who has it run
Said = Started | Exit | Fault  # by the agent
_ASKED: Final = msgspec.json.Decoder(Asked)
_SAID: Final = msgspec.json.Decoder(Said)


class NotUnderstood(ValueError):  # noqa: N818 - what a peer said
    """A message that nobody who keeps to this protocol sends."""


def asked(message: str | bytes) -> Asked | Data:
    """Read what comes from who has it run. Raises NotUnderstood."""
    return _read(message, _ASKED, (STDIN,))


def said(message: str | bytes) -> Said | Data:
    """Read what comes from the agent. Raises NotUnderstood."""
    return _read(message, _SAID, (STDOUT, STDERR))


def text(thing: Asked | Said) -> str:
    """Write one thing that is said."""
    return msgspec.json.encode(thing).decode()


def data(channel: int, part: bytes) -> bytes:
    """Write some data."""
    return bytes((channel,)) + part


def _read(message: str | bytes, decoder: msgspec.json.Decoder[T], channels: tuple[int, ...]) -> T | Data:
    if len(message) > MOST:
        raise NotUnderstood(f"a message has at most {MOST} bytes")
    if isinstance(message, bytes):
        if not message or message[0] not in channels:
            raise NotUnderstood("the first byte of data names no channel that may be written to")
        return Data(message[0], message[1:])
    try:
        return decoder.decode(message)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise NotUnderstood(str(error)) from None
