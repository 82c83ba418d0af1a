"""Charts as SVG, drawn here: what they show can be read by a screen reader, and printed.

Invariant: no inline styles (the policy of our pages forbids them), every text is escaped, and bars of one chart have
one scale that begins at 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

from markupsafe import Markup

WIDTH, HEIGHT = 640, 220  # of the drawing, in its own units
LEFT, RIGHT, TOP, BOTTOM = 44, 4, 10, 26  # its margins
_TICKS = 4
_ids = count()


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its label and the height of each series; `tick` says whether the label fits below it."""

    label: str
    values: Sequence[float]
    tick: bool = True


def columns(
    data: Sequence[Column],
    *,
    title: str,
    description: str,
    series: Sequence[str],
    number: Callable[[float], str] = str,
) -> Markup:
    """Return stacked columns; `series` are class names of style.css, one for each value of a column, bottom first."""
    top = _ceiling(max((sum(column.values) for column in data), default=0))
    height = HEIGHT - TOP - BOTTOM
    step = (WIDTH - LEFT - RIGHT) / max(len(data), 1)
    parts = [_grid(top, height, number)]
    for index, column in enumerate(data):
        left, base = LEFT + index * step, float(TOP + height)
        bars = []
        for name, value in zip(series, column.values, strict=True):
            tall = value / top * height
            if tall > 0:
                base -= tall
                bars.append(
                    Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                        name, left + step * 0.1, base, step * 0.8, tall
                    )
                )
        if column.tick:
            middle = left + step / 2
            bars.append(
                Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
                    middle, HEIGHT - 8, column.label
                )
            )
        parts.extend(bars)
    return _drawing(parts, title, description)


def _grid(top: float, height: float, number: Callable[[float], str]) -> Markup:
    lines = []
    for index in range(_TICKS + 1):
        value = top * index / _TICKS
        y = TOP + height - height * index / _TICKS
        lines.append(
            Markup(
                '<line class="{}" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>'
                '<text x="{}" y="{:.1f}" text-anchor="end">{}</text>'
            ).format("grid" if index else "axis", LEFT, WIDTH - RIGHT, y, y, LEFT - 6, y + 4, number(value))
        )
    return Markup("").join(lines)


def _drawing(parts: Sequence[Markup], title: str, description: str) -> Markup:
    name = f"chart{next(_ids)}"
    return Markup(
        '<svg role="img" viewBox="0 0 {} {}" aria-labelledby="{}-t {}-d">'
        '<title id="{}-t">{}</title><desc id="{}-d">{}</desc>{}</svg>'
    ).format(
        WIDTH,
        HEIGHT,
        name,
        name,
        name,
        title,
        name,
        description,
        Markup("").join(parts),
    )


def bar(value: float, most: float, kind: str = "plain-bar") -> Markup:
    """Return one horizontal bar as a part of `most`; the text beside it says what it is, so readers pass over it."""
    width = 100 * min(max(value / most, 0), 1) if most > 0 else 0
    return Markup(
        '<svg class="meter" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        '<rect class="rest" width="100" height="4"/><rect class="{}" width="{:.1f}" height="4"/></svg>'
    ).format(kind, width)


def _ceiling(most: float) -> float:
    """Return a number at or above `most` whose quarters are round: 4, 8, 12, 20, 32, 40, 80, …"""
    quarter = max(most / _TICKS, 1)
    power = 10 ** math.floor(math.log10(quarter))
    return float(_TICKS * power * next(factor for factor in (1, 2, 3, 5, 8, 10) if factor * power >= quarter))
