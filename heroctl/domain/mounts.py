"""What is put into a task's file system: named volumes, paths of the host, files. Whether it makes sense.

A container has a root of its own, so places in it are absolute; a process starts in a folder of its own, and places
are relative to that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from heroctl.domain.errors import Problem
from heroctl.domain.isolation import MOST, is_clean, is_within
from heroctl.domain.spec import File, Task, Volume

VOLUME_NAME: Final = re.compile(r"^[a-z0-9][a-z0-9_.-]{0,62}$")
MODE: Final = re.compile(r"^0[0-7]{3}$")
SECRET: Final = re.compile(r"^\$\{secret\.[^}\s]+\}$")


class _Place(NamedTuple):
    """Something in the file system: where it is, and the field that says so."""

    at: str
    field: str


def mounts(task: Task, path: str) -> Iterator[Problem]:
    """Say what is wrong with volumes, files and devices of a task, and with where they are."""
    yield from _too_many(task.volumes, f"{path}.volumes")
    yield from _too_many(task.files, f"{path}.files")
    for number, volume in enumerate(task.volumes):
        yield from _volume(task, volume, f"{path}.volumes[{number}]")
    for number, file in enumerate(task.files):
        yield from _file(task, file, f"{path}.files[{number}]")
    yield from _collisions(task, path)
    if task.image_auth is not None:
        yield from _image_auth(task, task.image_auth, f"{path}.image_auth")


def _too_many(items: tuple[object, ...], path: str) -> Iterator[Problem]:
    if len(items) > MOST:
        yield Problem(path, "out_of_range", f"at most {MOST}")


def _volume(task: Task, volume: Volume, path: str) -> Iterator[Problem]:
    if volume.named:
        if VOLUME_NAME.fullmatch(volume.source) is None:
            yield Problem(f"{path}.source", "invalid_name", "use a-z, 0-9, '_', '.' and '-', at most 63, or a path")
    elif task.driver == "process":
        yield Problem(f"{path}.source", "invalid_value", "a process sees the host's paths anyway: only names go here")
    elif not is_clean(volume.source):
        yield Problem(f"{path}.source", "invalid_path", _spelled(volume.source))
    if volume.shared and not volume.named:
        yield Problem(f"{path}.shared", "invalid_value", "paths of the host are shared anyway; it is for named volumes")
    if volume.read_only and task.driver == "process":
        yield Problem(f"{path}.read_only", "invalid_value", "nothing can keep a process from writing")
    yield from _place(task, volume.target, f"{path}.target")


def _file(task: Task, file: File, path: str) -> Iterator[Problem]:
    yield from _place(task, file.path, f"{path}.path")
    if MODE.fullmatch(file.mode) is None:
        yield Problem(f"{path}.mode", "invalid_value", f"{file.mode!r}: write it in octal, such as '0440', in quotes")


def _place(task: Task, at: str, where: str) -> Iterator[Problem]:
    if task.driver == "process":
        if at.startswith("/") or not is_clean(f"/{at}") or not at:
            said = "write it from the folder on in which the process starts, such as conf/app.conf"
            yield Problem(where, "invalid_path", f"{at!r}: {said}, without . or .. and without a / at an end")
    elif not is_clean(at):
        yield Problem(where, "invalid_path", _spelled(at))
    elif at == "/":
        yield Problem(where, "invalid_value", "the container's own root cannot be replaced")


def _spelled(path: str) -> str:
    return f"{path!r}: write it from / on, without . or .. and without a / at its end"


def _collisions(task: Task, path: str) -> Iterator[Problem]:
    """Two things at one place would hide each other; a file holds nothing, and in some folders none can be put."""
    volumes = [_Place(each.target, f"volumes[{number}].target") for number, each in enumerate(task.volumes)]
    devices = [_Place(each.target or each.source, f"devices[{n}].target") for n, each in enumerate(task.devices)]
    files = [_Place(each.path, f"files[{number}].path") for number, each in enumerate(task.files)]
    seen: set[str] = set()
    for place in (*volumes, *devices, *files):
        if place.at in seen:
            yield Problem(f"{path}.{place.field}", "duplicate", f"there is something at {place.at} already")
        seen.add(place.at)
    closed = [each.target for each in task.volumes if each.read_only or task.driver == "process"]
    for file in files:
        inside = next((place for place in (*volumes, *devices, *files) if _below(place.at, file.at)), None)
        if inside is not None:
            yield Problem(f"{path}.{file.field}", "invalid_value", f"a file cannot hold {inside.at} ({inside.field})")
        if any(_below(file.at, folder) for folder in closed):
            yield Problem(f"{path}.{file.field}", "invalid_value", "there is a volume in which it cannot be put")


def _below(at: str, folder: str) -> bool:
    return at != folder and is_within(at, folder)


def _image_auth(task: Task, text: str, path: str) -> Iterator[Problem]:
    if task.driver == "process":
        yield Problem(path, "invalid_value", "driver process has no image")
    elif SECRET.fullmatch(text) is None:
        yield Problem(path, "invalid_value", "name a secret that holds user:password, such as ${secret.registry}")
