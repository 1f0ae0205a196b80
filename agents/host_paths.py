"""What paths of this machine are once their links are followed, and whether containers may have that.

A link leads wherever whoever made it likes, also below a folder that is allowed: so the place it leads to is judged
as the name was, and the engine is given the place and not the name.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from msgspec.structs import replace

from agents.container import Description
from agents.runtime import HostPathMissing, NotAllowed
from heroctl.domain.allowance import SENSITIVE, Allowance, opens
from heroctl.domain.isolation import is_within
from heroctl.domain.spec import Device, Volume


def grounded(description: Description, allowance: Allowance) -> Description:
    """Give a description in which each path of the host has no link in it. NotAllowed, HostPathMissing.

    Named volumes are left as they are.
    """
    devices = tuple(_device(device, allowance) for device in description.devices)
    volumes = tuple(each if each.named else _volume(each, allowance) for each in description.volumes)
    return replace(description, devices=devices, volumes=volumes)


def _volume(volume: Volume, allowance: Allowance) -> Volume:
    place = _place(volume.source)
    closed = [_followed(each) for each in (*SENSITIVE, *allowance.kept)]
    if not opens([_followed(each) for each in allowance.host_paths], place, closed):
        raise NotAllowed(_told("host path", volume.source, place))
    return replace(volume, source=place)


def _device(device: Device, allowance: Allowance) -> Device:
    place = _place(device.source)
    if not any(is_within(place, _followed(each)) for each in allowance.devices) or not _is_device(place):
        raise NotAllowed(_told("device", device.source, place))
    return replace(device, source=place, target=device.target or device.source)


def _place(path: str) -> str:
    """Follow all links. The last part must be there: an engine would make a folder of that name."""
    try:
        return str(Path(path).resolve(strict=True))
    except PermissionError as error:
        raise NotAllowed(f"{path}, which the agent itself cannot see") from error
    except (OSError, RuntimeError) as error:  # a circle of links is a RuntimeError
        raise HostPathMissing(path) from error


def _followed(path: str) -> str:
    return os.path.realpath(path)


def _is_device(path: str) -> bool:
    mode = Path(path).stat().st_mode
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or stat.S_ISDIR(mode)


def _told(kind: str, path: str, place: str) -> str:
    return f"{kind} {path}" if path == place else f"{kind} {path}, which is {place}"
