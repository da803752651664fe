"""A plot of points in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_WIDTH, _HEIGHT = 56, 14
OTHERS = "·"
"""A point without a name."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One point; the later ones of several at the same place are seen."""

    x: float
    y: float
    sign: str = OTHERS


def scatter(marks: Sequence[Mark], across: str, up: str) -> str:
    """Return a plot from zero on.

    Args:
        marks: at least one.
        across: what x is.
        up: what y is.
    """
    most_x = max(mark.x for mark in marks) or 1.0
    most_y = max(mark.y for mark in marks) or 1.0
    rows = [[" "] * _WIDTH for _ in range(_HEIGHT)]
    for mark in marks:
        column = round(mark.x / most_x * (_WIDTH - 1))
        row = round(mark.y / most_y * (_HEIGHT - 1))
        rows[_HEIGHT - 1 - row][column] = mark.sign
    ends = {0: f"{most_y:.3g}", _HEIGHT - 1: "0"}
    lines = [f"{ends.get(number, ''):>7} │{''.join(row).rstrip()}" for number, row in enumerate(rows)]
    most = f"{most_x:.3g}"
    axis = f"{'':>7} └{'─' * _WIDTH}"
    below = f"{'':>8} 0{most:>{_WIDTH - 1}}"
    return "\n".join([up, *lines, axis, below, f"{across:>{_WIDTH + 9}}"])
