"""A plain chart in SVG that can be read on light and on dark pages: two panels with logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

_WIDTH, _HEIGHT = 900, 400
_PANEL, _DEPTH = 360, 250  # of the plotting area
_LEFT, _TOP, _GAP = 60, 46, 90
_COLOURS: Final = ("#2f81f7", "#db6d28", "#3fb950", "#a371f7", "#f85149")
_STYLE: Final = (
    "text{font:12px sans-serif;fill:#757d88}.grid{stroke:#808080;stroke-opacity:.25}.line{fill:none;stroke-width:2}"
    "@media(prefers-color-scheme:dark){text{fill:#9da7b3}}"
)

Figure = tuple[str, int, float, float]  # what, callers, and the values of both panels


def draw(figures: Sequence[Figure]) -> str:
    """Draw both panels, and one legend."""
    names = list(dict.fromkeys(name for name, *_ in figures))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f"<style>{_STYLE}</style>",
        *_panel(_LEFT, "appends a second", [(name, x, y) for name, x, y, _ in figures], names),
        *_panel(_LEFT + _PANEL + _GAP, "p99 of a call, ms", [(name, x, y) for name, x, _, y in figures], names),
    ]
    for number, name in enumerate(names):
        x, y = _LEFT + number % 3 * 280, _TOP + _DEPTH + 54 + number // 3 * 22
        colour = _COLOURS[number % len(_COLOURS)]
        parts.append(f'<line x1="{x}" y1="{y - 4}" x2="{x + 18}" y2="{y - 4}" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{x + 24}" y="{y}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(left: int, title: str, points: Sequence[tuple[str, int, float]], names: Sequence[str]) -> list[str]:
    across = _scale([x for _, x, _ in points], left, left + _PANEL)
    low = 10 ** math.floor(math.log10(min(y for *_, y in points)))
    high = 10 ** math.ceil(math.log10(max(y for *_, y in points)))
    up = _scale([low, high], _TOP + _DEPTH, _TOP)
    parts = [f'<text x="{left}" y="{_TOP - 16}">{title}, by callers</text>']
    for power in range(round(math.log10(low)), round(math.log10(high)) + 1):
        y = up(10**power)
        parts.append(f'<line class="grid" x1="{left}" y1="{y:.1f}" x2="{left + _PANEL}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{10**power:,g}</text>')
    marks = sorted({x for _, x, _ in points})
    parts += [f'<text x="{across(x):.1f}" y="{_TOP + _DEPTH + 18}" text-anchor="middle">{x}</text>' for x in marks]
    for number, name in enumerate(names):
        colour = _COLOURS[number % len(_COLOURS)]
        line = " ".join(f"{across(x):.1f},{up(y):.1f}" for each, x, y in points if each == name)
        parts.append(f'<polyline class="line" stroke="{colour}" points="{line}"/>')
    return parts


def _scale(values: Sequence[float], start: float, end: float) -> Callable[[float], float]:
    low, high = math.log(min(values)), math.log(max(values))
    return lambda value: start + (math.log(value) - low) / ((high - low) or 1) * (end - start)
