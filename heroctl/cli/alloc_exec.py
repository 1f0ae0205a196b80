"""`heroctl alloc exec`: a command in a running allocation, with this terminal or these pipes attached to it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from typing import Final

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from heroctl.cli.client import Client, path
from heroctl.cli.faults import Fault, refused, unreachable
from heroctl.cli.session import Session
from heroctl.domain.execs import (
    MOST,
    PART,
    PROTOCOL,
    STDERR,
    STDIN,
    Data,
    Eof,
    Exit,
    Resize,
    Start,
    Started,
    data,
    said,
    text,
)
from heroctl.domain.execs import Fault as Failed

UNAUTHENTICATED: Final = 401
_CONNECT_S: Final = 10.0
_PING_S: Final = 20.0  # for whatever stands between; who is slow to read answers none, so no answer is waited for


def run(session: Session, alloc: str, command: tuple[str, ...], *, interactive: bool, terminal: bool) -> int:
    """Run it; return how it ended. Raises what every command does."""
    if terminal and not sys.stdin.isatty():
        raise Fault("standard input is no terminal, so none can be passed on", hints=["leave out --tty"])
    with _opened(session.client, alloc) as peer, _raw(terminal):
        peer.send(text(_start(command, terminal=terminal)))
        if not interactive:
            peer.send(text(Eof()))
        with _following_size(peer) if terminal else contextlib.nullcontext():
            return _heard(peer, alloc, interactive=interactive)


def _start(command: tuple[str, ...], *, terminal: bool) -> Start:
    if not terminal:
        return Start(command)
    width, height = _size()
    return Start(command, tty=True, width=width, height=height)


def _size() -> tuple[int, int]:
    with contextlib.suppress(OSError):
        size = os.get_terminal_size(sys.stdin.fileno())
        return max(1, size.columns), max(1, size.lines)
    return 80, 24


def _opened(client: Client, alloc: str) -> ClientConnection:
    """Open the WebSocket. What refuses it is told as it is by every command."""
    where = path("allocations", alloc, "exec")
    try:
        try:
            return _connected(client, where)
        except InvalidStatus as error:
            if error.response.status_code != UNAUTHENTICATED or not client.renewed():
                raise
        return _connected(client, where)
    except InvalidStatus as error:
        raise refused(error.response.status_code, bytes(error.response.body or b""), client.caller) from None
    except (OSError, TimeoutError, InvalidHandshake) as error:
        raise unreachable(error, client.caller) from error


def _connected(client: Client, where: str) -> ClientConnection:
    url, headers, trusted = client.socket(where)
    return connect(
        url,
        subprotocols=[Subprotocol(PROTOCOL)],
        additional_headers=headers,
        ssl=trusted,
        max_size=MOST,
        compression=None,
        proxy=None,
        open_timeout=_CONNECT_S,
        close_timeout=1,
        ping_interval=_PING_S,
        ping_timeout=None,
        user_agent_header="heroctl",
    )


@contextlib.contextmanager
def _raw(terminal: bool) -> Iterator[None]:  # noqa: FBT001 - of this file
    """Pass on every key as it is typed, and let the other end say what is seen; as it was before, afterwards."""
    if not terminal:
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setraw(sys.stdin, termios.TCSADRAIN)  # what was typed ahead is typed
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _following_size(peer: ClientConnection) -> Iterator[None]:
    def tell(*_: object) -> None:
        with contextlib.suppress(ConnectionClosed):
            peer.send(text(Resize(*_size())))

    before = signal.signal(signal.SIGWINCH, lambda *_: threading.Thread(target=tell, daemon=True).start())
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def _heard(peer: ClientConnection, alloc: str, *, interactive: bool) -> int:
    """Write what it writes, and return how it ended."""
    outputs = {STDERR: sys.stderr.buffer}
    try:
        for message in peer:
            match said(message):
                case Started():
                    if interactive:
                        threading.Thread(target=_give, args=(peer,), daemon=True).start()
                case Data(channel, part):
                    output = outputs.get(channel, sys.stdout.buffer)
                    output.write(part)
                    output.flush()
                case Exit(ended):
                    return ended
                case Failed(code, why):
                    raise Fault(why, facts=[("code", code)], hints=[f"see how it is: heroctl alloc status {alloc}"])
    except ConnectionClosed:
        pass
    raise Fault("the connection ended, and nobody said how the command did", hints=[f"heroctl alloc status {alloc}"])


def _give(peer: ClientConnection) -> None:
    """Pass on standard input, to its end."""
    with contextlib.suppress(ConnectionClosed, OSError, ValueError):
        while part := os.read(sys.stdin.fileno(), PART):
            peer.send(data(STDIN, part))
        peer.send(text(Eof()))
