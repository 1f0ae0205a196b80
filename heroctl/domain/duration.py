"""Durations and sizes as people write them: `30s`, `1h30m`, `256MB`, `1GiB`.

Both are values with one canonical spelling, so that a spec written in two ways compares equal and prints the same.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import total_ordering
from typing import Final

_UNITS_MS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_DURATION: Final = re.compile(r"^(?:\d+(?:\.\d+)?(?:ms|d|h|m|s))+$")
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|d|h|m|s)")
_UNITS_BYTES: Final = {
    "TiB": 1 << 40,
    "GiB": 1 << 30,
    "MiB": 1 << 20,
    "KiB": 1 << 10,
    "TB": 10**12,
    "GB": 10**9,
    "MB": 10**6,
    "KB": 10**3,
    "B": 1,
}
_SIZE: Final = re.compile(r"^(\d+(?:\.\d+)?)\s*(TiB|GiB|MiB|KiB|TB|GB|MB|KB|kB|B)?$")
_LONGEST_MS: Final = 366 * _UNITS_MS["d"]
_LARGEST: Final = 1 << 60


class _Amount:
    """A whole number with a unit, compared by value. (No dataclass: msgspec would read those as objects.)"""

    __slots__ = ("_value",)

    def __init__(self, value: int) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._value == self._value

    def __hash__(self) -> int:
        return hash((type(self), self._value))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._value})"


@total_ordering
class Duration(_Amount):
    """A length of time, kept in whole milliseconds; at most a year."""

    __slots__ = ()

    @property
    def ms(self) -> int:
        """The length in milliseconds."""
        return self._value

    def __lt__(self, other: Duration) -> bool:
        """Tell whether this is the shorter one."""
        return self._value < other._value

    @property
    def seconds(self) -> float:
        """The same in seconds."""
        return self.ms / 1000

    @classmethod
    def of(cls, seconds: float) -> Duration:
        """Make one from seconds."""
        return cls(round(seconds * 1000))

    @classmethod
    def parse(cls, text: object) -> Duration:
        """Read `30s`, `5m`, `1h30m`, `250ms`, or a bare number of seconds. ValueError says what is expected."""
        if isinstance(text, bool) or not isinstance(text, str | int | float):
            msg = "expected a duration such as 30s, 5m or 1h30m"
            raise ValueError(msg)
        if isinstance(text, int | float):
            total = float(text) * 1000
        elif _DURATION.match(text):
            total = sum(float(n) * _UNITS_MS[unit] for n, unit in _DURATION_PART.findall(text))
        elif text == "0":
            total = 0
        else:
            msg = f"{text!r} is not a duration such as 30s, 5m or 1h30m"
            raise ValueError(msg)
        if not 0 <= total <= _LONGEST_MS:
            msg = f"{text!r} is not between 0s and 366d"
            raise ValueError(msg)
        return cls(round(total))

    def __str__(self) -> str:
        """Spell it canonically: `1h30m`, `0s`."""
        if not self.ms:
            return "0s"
        parts, rest = [], self.ms
        for unit, size in _UNITS_MS.items():
            count, rest = divmod(rest, size)
            if count:
                parts.append(f"{count}{unit}")
        return "".join(parts)


@total_ordering
class Size(_Amount):
    """A number of bytes."""

    __slots__ = ()

    @property
    def bytes(self) -> int:
        """The number itself."""
        return self._value

    def __lt__(self, other: Size) -> bool:
        """Tell whether this is the smaller one."""
        return self._value < other._value

    @classmethod
    def parse(cls, text: object) -> Size:
        """Read `256MB`, `1GiB`, or a bare number of bytes. ValueError says what is expected."""
        if isinstance(text, bool) or not isinstance(text, str | int):
            msg = "expected a size such as 256MB or 1GiB"
            raise ValueError(msg)
        match = _SIZE.match(str(text))
        if match is None:
            msg = f"{text!r} is not a size such as 256MB or 1GiB"
            raise ValueError(msg)
        number, unit = match.groups()
        total = round(Decimal(number) * _UNITS_BYTES[(unit or "B").replace("kB", "KB")])
        if total > _LARGEST:
            msg = f"{text!r} is more than 1 EiB"
            raise ValueError(msg)
        return cls(total)

    def __str__(self) -> str:
        """Spell it canonically, in the largest unit that keeps it whole."""
        whole = [(self.bytes // size, unit) for unit, size in _UNITS_BYTES.items() if self.bytes % size == 0]
        count, unit = min(whole) if self.bytes else (0, "B")
        return f"{count}{unit}"
