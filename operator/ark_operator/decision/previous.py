"""Reads the status that was written last."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from ark_api.moment import moment
from ark_api.status import ConditionType
from ark_operator.decision.assessment import Pin

CONFLICT_KEPT = timedelta(minutes=30)
"""How long the condition of an operator that leaves an agent to another one stays, unless it says so again."""


def pin_of(content: Mapping[str, Any]) -> Pin | None:
    """Return the pin that a status tells of."""
    pin = content.get("pin")
    if not pin:
        return None
    until = pin.get("until")
    return Pin(int(pin["replicas"]), moment(pin["since"]), moment(until) if until else None)


def is_another_operators(entry: Mapping[str, Any], now: datetime) -> bool:
    """Return whether a condition is another operator's that has said so lately.

    It says it again as long as it is there.
    """
    if entry.get("type") != ConditionType.OPERATOR_CONFLICT:
        return False
    try:
        return now - moment(str(entry.get("lastTransitionTime"))) < CONFLICT_KEPT
    except ValueError:
        return False
