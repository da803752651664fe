"""Types of command lines' options whose errors say what is allowed: argparse names the option, and a type the rest."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return a type for whole numbers within bounds."""

    def parse(text: str) -> int:
        # Digits first: int() of very long ones is refused with a message about something else.
        value = int(text) if _WHOLE.fullmatch(text) and len(text) < 20 else None
        if value is None or value < least or (most is not None and value > most):
            allowed = f"from {least}" if most is None else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {allowed}")
        return value

    return parse


def number(least: float = 0.0, *, above: bool = False) -> Callable[[str], float]:
    """Return a type for numbers from a least one, or above it."""

    def parse(text: str) -> float:
        value = float(text) if _NUMBER.fullmatch(text) else math.nan
        if not (least < value if above else least <= value) or math.isinf(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number {'above' if above else 'from'} {least:g}")
        return value

    return parse


def from_environment(name: str, parse: Callable[[str], _T], default: _T) -> _T:
    """Return what a variable of a developers' command says; end it with one line where that is not allowed."""
    text = os.environ.get(name)
    if not text:
        return default
    try:
        return parse(text)
    except argparse.ArgumentTypeError as error:
        raise SystemExit(f"{name}: {error}") from None


def file(endings: Sequence[str]) -> Callable[[str], Path]:
    """Return a type for files of some kinds."""

    def parse(text: str) -> Path:
        if Path(text).suffix not in endings:
            raise argparse.ArgumentTypeError(f"{text!r} does not end in {' or '.join(endings)}")
        return Path(text)

    return parse
