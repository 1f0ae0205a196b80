"""Images in a Docker engine: brought here when asked for, and taken away again when nobody needs them.

Only what was pulled from here is ever removed, by the name it was pulled under and never by force: an image that
somebody else has a name for, or a container of, stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
from aiodocker.exceptions import DockerError, DockerStreamError

from agents import docker_engine, images
from agents.disk import Disk
from agents.docker_engine import Engine, calling
from agents.journal import written
from agents.login import Login
from agents.runtime import DiskLow, Gone, ImageAuthFailed, ImageMissing, PullFailed, StartFault, Unavailable

PULL: Final = 300.0  # seconds for a whole pull
PULL_PROGRESS: Final = 120.0  # between two signs of life of a pull
KEEP: Final = 600.0  # seconds that an image stays after it was last used
FRESH: Final = 300.0  # seconds after which it is written down anew when images were last used
_DENIED: Final = re.compile(
    r"no basic auth credentials|unauthorized|authentication required|incorrect username or password", re.IGNORECASE
)
_WITHHELD: Final = re.compile(r"access (?:to the resource is )?denied", re.IGNORECASE)
_NOWHERE: Final = re.compile(r"not found|no such image|does not exist|manifest unknown", re.IGNORECASE)
_log = structlog.get_logger("images")


class Images:
    """The images of one engine. `record`: the file with those that were brought here; None: none ever goes."""

    def __init__(
        self,
        engine: Engine,
        disk: Disk | None = None,
        record: Path | None = None,
        *,
        keep: float = KEEP,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._disk = disk
        self._record = record
        self._keep = keep
        self._wall = wall
        self._pulls: dict[tuple[str, Login | None], asyncio.Task[None]] = {}
        self._known = _read(record)
        self._written_at = 0.0
        self._root_known = False

    async def close(self) -> None:
        """Give up what is being pulled."""
        for pull in self._pulls.values():
            pull.cancel()
        await asyncio.gather(*self._pulls.values(), return_exceptions=True)

    async def pull(self, image: str, login: Login | None) -> None:
        """Bring an image here, once however many ask for it at a time."""
        await self._watch_disk()
        if self._disk is not None and (low := await asyncio.to_thread(getattr, self._disk, "low")):
            raise DiskLow(low)
        key = image, login
        pull = self._pulls.get(key)
        if pull is None:
            pull = self._pulls[key] = asyncio.create_task(self._pull(image, login))
            pull.add_done_callback(lambda _: self._pulls.pop(key, None))
        await asyncio.shield(pull)

    async def _pull(self, image: str, login: Login | None) -> None:
        tag = {} if ":" in image.rpartition("/")[2] or "@" in image else {"tag": "latest"}
        headers = {} if login is None else {"X-Registry-Auth": login.header}
        lines = self._engine.stream("images/create", "POST", {"fromImage": image, **tag}, PULL_PROGRESS, headers)
        try:
            async with asyncio.timeout(PULL), calling(None), contextlib.aclosing(lines):
                async for line in lines:
                    _complain(line)
        except TimeoutError as error:
            raise PullFailed(f"{image} could not be pulled: it took too long") from error
        except (DockerError, Gone) as error:
            raise _not_pulled(image, error, named=login is not None) from error
        self._known[image] = self._wall()
        await self._keep_record()

    # ── taken away again ─────────────────────────────────────────────────────────────────────────────────────────────

    async def tidy(self, used: Collection[str]) -> None:
        """Where the disk is crowded, remove what was brought here and nobody uses, until it is not."""
        if self._disk is None or self._record is None:
            return
        await self._watch_disk()
        now = self._wall()
        before, self._known = self._known, images.seen(self._known, used, now)
        if self._known != before and now - self._written_at > FRESH:
            await self._keep_record()
        for image in images.spare(self._known, used, now, self._keep):
            crowded = await asyncio.to_thread(getattr, self._disk, "crowded")
            if not crowded or not await self._remove(image, used):
                break

    async def _remove(self, image: str, used: Collection[str]) -> bool:
        """Remove one, unless somebody needs it; tell whether the engine answers."""
        try:
            async with calling(docker_engine.LONG_CALL):
                shown = await self._engine.docker.images.inspect(image)
                if images.names(used, shown.get("RepoDigests") or ()):  # what a tag stood for is wanted by its digest
                    self._known[image] = self._wall()
                    return True
                await self._engine.docker.images.delete(image, force=False)
        except Gone:
            pass
        except DockerError as error:
            _log.info("image_stays", image=image, because=error.message)
            self._known[image] = self._wall()  # somebody uses it
            return True
        except Unavailable as error:
            _log.info("image_not_removed", image=image, error=str(error))
            return False
        else:
            _log.info("image_removed", image=image)
        self._known.pop(image, None)
        await self._keep_record()
        return True

    async def _keep_record(self) -> None:
        """Write down what is known. What cannot be written is forgotten with this agent: then it just stays."""
        self._written_at = self._wall()
        if self._record is not None:
            try:
                await asyncio.to_thread(written, self._record, msgspec.json.encode(self._known))
            except OSError as error:
                _log.error("images_not_written", error=str(error))

    async def _watch_disk(self) -> None:
        """Find where the engine keeps its images; once, where it is on this machine."""
        if self._disk is None or self._root_known or not self._engine.local:
            return
        with contextlib.suppress(Unavailable, Gone, DockerError):
            async with calling(docker_engine.CALL):
                info = await self._engine.docker.system.info()
            self._disk.watch(Path(str(info.get("DockerRootDir", "/"))))
            self._root_known = True


def _read(record: Path | None) -> dict[str, float]:
    try:
        return msgspec.json.decode(record.read_bytes(), type=dict[str, float]) if record is not None else {}
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}


def _not_pulled(image: str, error: DockerError | Gone, *, named: bool) -> StartFault:
    """Judge why. To a stranger a registry says of what is private what it says of what is not there."""
    message = str(error) if isinstance(error, Gone) else error.message
    said = f"{image} could not be pulled: {error}"
    if _DENIED.search(message) or (named and _WITHHELD.search(message)):
        return ImageAuthFailed(said)
    nowhere = isinstance(error, Gone) or _NOWHERE.search(message) or _WITHHELD.search(message)
    return ImageMissing(said) if nowhere else PullFailed(said)


def _complain(line: dict[str, Any]) -> None:
    if "error" in line:
        raise DockerStreamError(str(line["error"]))
