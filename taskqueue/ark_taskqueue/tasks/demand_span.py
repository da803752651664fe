"""Ten seconds of a queue's demand, as they are on record."""

from __future__ import annotations

from dataclasses import dataclass

SPAN_SECONDS = 10


@dataclass(frozen=True, slots=True)
class DemandSpan:
    """Ten seconds of a queue."""

    at: int
    """When they began, seconds since 1970 by Redis' clock; a multiple of ten."""
    arrivals: int
    """Tasks that were added in them, by anybody."""
    busy_seconds: float
    """Slots of workers that had a task, times the time that they had one."""
    waiting_seconds: float
    """Tasks that no worker held, times the time that they waited."""
