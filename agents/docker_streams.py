"""What an engine streams of outputs: frames of a kind, a length and that many bytes. The end of it is kept."""

from __future__ import annotations

import asyncio
import contextlib
import io
import struct
import tarfile
from typing import Any, Final, Protocol

from agents.output import ENOUGH

OUTPUT: Final = 1024  # bytes kept of what a command says
SMALL: Final = 1 << 20  # bytes, of a list of users in an image
_HEADER: Final = struct.Struct(">BxxxL")
_PART: Final = 64 * 1024


class Source(Protocol):
    """Where bytes come from."""

    async def readexactly(self, n: int, /) -> bytes:
        """Read so many. IncompleteReadError where it ends before."""
        ...

    async def read(self, n: int, /) -> bytes:
        """Read at most so many; nothing at the end."""
        ...


async def unframed(source: Source) -> bytes:
    """Read frames to their end, whatever they are of, and return the last bytes in them."""
    heard = bytearray()
    try:
        while True:
            _, left = _HEADER.unpack(await source.readexactly(_HEADER.size))
            while left:
                part = await source.readexactly(min(left, _PART))
                left -= len(part)
                heard += part
                del heard[:-ENOUGH]
    except asyncio.IncompleteReadError:
        return bytes(heard)


async def unpacked(source: Source) -> str:
    """Read an archive of one small file; "" where it is something else, or is not small."""
    packed = io.BytesIO()
    while part := await source.read(_PART):
        if packed.write(part) and packed.tell() > SMALL:
            return ""
    packed.seek(0)
    with contextlib.suppress(tarfile.TarError, KeyError), tarfile.open(fileobj=packed) as archive:
        member = archive.next()
        file = archive.extractfile(member) if member is not None else None
        return file.read().decode(errors="replace") if file is not None else ""
    return ""


async def heard(running: Any) -> str:  # noqa: ANN401 - the library's type has no name of its own
    """Hear a command in a container out, and return the end of what it said."""
    said = bytearray()
    async with running.start(detach=False) as stream:
        while (message := await stream.read_out()) is not None:
            said += message.data
            del said[:-OUTPUT]
    return said.decode(errors="replace")
