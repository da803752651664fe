"""Make objects small that are kept by the thousand: parsed one by one, each has its own copy of every field's name."""

from __future__ import annotations

import sys
from typing import Any

_LONGEST = 100
"""Longer texts are hardly ever the same in two objects."""


def compact(value: Any) -> Any:
    """Return plain data whose fields' names, and short texts, are shared with all other data that went through here."""
    if isinstance(value, dict):
        return {sys.intern(name): compact(item) for name, item in value.items()}
    if isinstance(value, list):
        return [compact(item) for item in value]
    if isinstance(value, str) and len(value) <= _LONGEST:
        return sys.intern(value)
    return value
