"""How a pool is scaled, and how many slots that asks for at a moment.

A sizing has three parts. The *reserve* are free slots for what comes next: the number of tasks in a pool of free slots
is about Poisson-distributed, so what it moves by grows with the root of what there is (square-root staffing: Halfin and
Whitt, "Heavy-traffic limits for queues with many exponential servers", 1981). The *base* is kept warm whatever there is
at the moment: a quantile of what there was (the newsvendor's stock). *Patience* is the time that anything above is kept
(DELAYEDOFF: Gandhi, Harchol-Balter et al., "Server farms with setup costs", 2010). Where tasks may wait, there is a
fourth: the wait by which those that wait are counted.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

SPAN_SECONDS = 10
"""Of the record of a queue's demand (contract C8), from which a base is read."""


@dataclass(frozen=True, slots=True)
class Base:
    """Slots that stay warm: a quantile of the demand of the last while."""

    quantile: float
    """From 0 to 1."""
    window_seconds: int
    """A multiple of the record's spans."""

    def __str__(self) -> str:
        return f"{self.quantile:.0%} of {self.window_seconds / 60:g} min"


@dataclass(frozen=True, slots=True)
class Setting:
    """What scales a pool."""

    reserve: float = 0.0
    """Free slots, as a multiple of the root of those that are asked for."""
    patience_seconds: float = 300.0
    """How long less must be wanted before the HPA lowers the pool."""
    base: Base | None = None
    """What stays warm; None for nothing."""
    tasks_per_replica: int | None = None
    """Slots asked for to each replica, the metric's target; None for all that a replica has."""
    target_wait_seconds: float | None = None
    """How long a task may wait. A waiting task then asks for a part of a slot, see `slots_of`."""
    pushes: bool = True
    """Whether a task wakes the pool at once, and somebody raises it each second; else only polls and the HPA do."""
    polling_seconds: float = 37.0
    """Between two looks of KEDA's; those of ArkAgents have this."""

    def slots_wanted(self, demand: float, base: float) -> float:
        """Return the slots that the pool should have.

        Args:
            demand: slots that the tasks ask for now, see `slots_of`.
            base: that stay warm.
        """
        return with_reserve(max(demand, base), self.reserve)

    def slots_of(self, busy: int, waiting: int, service_seconds: float) -> float:
        """Return the slots that tasks ask for: one each, and less where they may wait.

        The rule is `ark_taskqueue.tasks.depth.Depth.slots`, which has its derivation.
        """
        if self.target_wait_seconds is None:
            return busy + waiting
        return busy + waiting * min(1.0, service_seconds / self.target_wait_seconds)


def with_reserve(slots: float, reserve: float) -> float:
    """Return the slots to have where so many are asked for, so that the next tasks find a free one."""
    return slots + reserve * math.sqrt(slots)


def described(setting: Setting) -> str:
    """Return a setting as a person reads it."""
    parts = []
    if setting.tasks_per_replica is not None:
        parts.append(f"tasksPerReplica {setting.tasks_per_replica}")
    if setting.target_wait_seconds is not None:
        parts.append(f"targetWaitSeconds {setting.target_wait_seconds:g}")
    if setting.reserve:
        parts.append(f"reserve {setting.reserve:g}")
    if setting.base is not None:
        parts.append(f"base {setting.base.quantile:.0%}/{setting.base.window_seconds / 60:g}m")
    if not parts and setting.pushes:
        parts.append("no slots kept free")
    if not setting.pushes:
        parts.append(f"polled every {setting.polling_seconds:g}s")
    return ", ".join([*parts, f"patience {setting.patience_seconds:g}s"])


FIXED = Setting(patience_seconds=60.0)
"""What an ArkAgent has by default, with 70 % of its slots as `tasks_per_replica` (ADR 11)."""
TUNED_REDIS_STREAMS = Setting(pushes=False, polling_seconds=5.0)
"""KEDA's redis-streams with pending and waiting tasks added up, looked at every five seconds, and no limit upwards."""


class RecentDemand:
    """The demand of the last while, as the record has it: the mean of each span."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._spans: deque[float] = deque([0.0], maxlen=max(1, base.window_seconds // SPAN_SECONDS))
        self._sum = 0.0
        self._seconds = 0
        self.slots = 0.0
        """Of the base, now."""

    def second(self, demand: float) -> None:
        """Add a second's demand."""
        self._sum += demand
        self._seconds += 1
        if self._seconds == SPAN_SECONDS:
            self._spans.append(self._sum / SPAN_SECONDS)
            self._sum, self._seconds = 0.0, 0
            missing = (self._spans.maxlen or 0) - len(self._spans)
            self.slots = quantile_of([*[0.0] * missing, *self._spans], self._base.quantile)


def quantile_of(values: Sequence[float], quantile: float) -> float:
    """Return a quantile (nearest rank) of at least one value."""
    return sorted(values)[max(0, math.ceil(quantile * len(values)) - 1)]
