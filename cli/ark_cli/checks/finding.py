"""What a check says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How it is."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "FAULT"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One of them."""

    verdict: Verdict
    message: str
    do: str = ""
    """What to do about it."""


def ok(message: str) -> Finding:
    """Return that all is well."""
    return Finding(Verdict.OK, message)


def warning(message: str, do: str = "") -> Finding:
    """Return what works, but not as well as it could."""
    return Finding(Verdict.WARNING, message, do)


def fault(message: str, do: str) -> Finding:
    """Return what does not work."""
    return Finding(Verdict.FAULT, message, do)


def unknown(message: str) -> Finding:
    """Return what could not be looked at."""
    return Finding(Verdict.UNKNOWN, message)
