"""Compare two replica curves, each a list of changes (seconds, replicas from then on)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

Curve = Sequence[tuple[float, int]]


def differences(curve: Curve, other: Curve, tolerance: float, until: float, step: float = 0.5) -> Iterator[str]:
    """Name the moments at which a curve has a value that the other has not within a tolerance of time.

    Args:
        curve: the curve that is looked at.
        other: the curve that it is held against; what lies between two of its values counts as passed through.
        tolerance: seconds that the other may be early or late.
        until: the last moment, seconds.
        step: time between two moments.
    """
    moment = 0.0
    while moment <= until:
        value = at(curve, moment)
        low, high = _range(other, moment - tolerance, moment + tolerance)
        if not low <= value <= high:
            yield f"{value} at {moment:.1f} s, the other between {low} and {high} around it"
        moment += step


def at(curve: Curve, moment: float) -> int:
    """Return a curve's value at a moment; 0 before its first change."""
    passed = [value for changed, value in curve if changed <= moment]
    return passed[-1] if passed else 0


def _range(curve: Curve, first: float, last: float) -> tuple[int, int]:
    values = [at(curve, first), *(value for moment, value in curve if first <= moment <= last)]
    return min(values), max(values)
