"""Whose number ``spec.replicas`` is (contract C4, ADR 12)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ark_api.moment import moment, written
from ark_api.names import FIELD_MANAGER

_PIN_END = re.compile(r"(\d{1,9}) until (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)", re.ASCII)
_LONGEST_NUMBER = 9
"""Digits; whoever may write an agent may write anything there."""


@dataclass(frozen=True, slots=True)
class PinEnd:
    """When one number of a person's ends: the annotation `ark_api.names.PIN_END`."""

    replicas: int
    until: datetime

    @classmethod
    def parse(cls, text: str) -> PinEnd | None:
        """Read the annotation; None where it cannot be read."""
        match = _PIN_END.fullmatch(text)
        if match is None:
            return None
        try:
            return cls(int(match[1]), moment(match[2]))
        except ValueError:
            return None  # a 13th month

    def __str__(self) -> str:
        return f"{self.replicas} until {written(self.until)}"


def mirrored_number(text: str) -> int | None:
    """Read the annotation `ark_api.names.MIRROR`; None where it is no number."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER else None


def owns_replicas(entry: Mapping[str, Any]) -> bool:
    """Return whether an entry of ``managedFields`` says that somebody's manifest has ``spec.replicas`` as it is."""
    fields = ((entry.get("fieldsV1") or {}).get("f:spec") or {}) if isinstance(entry, Mapping) else {}
    return entry.get("operation") == "Apply" and entry.get("manager") != FIELD_MANAGER and "f:replicas" in fields
