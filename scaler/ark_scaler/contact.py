"""Whether one Redis answers, told once for each change."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from ark_scaler.metrics import ScalerMetrics
from ark_taskqueue import TaskQueueError


class Contact:
    """The contact with one Redis.

    Args:
        name: the connection's name.
        metrics: shows it.
        log: of the connection.
        clock: monotonic time, seconds.
    """

    def __init__(
        self, name: str, metrics: ScalerMetrics, log: structlog.stdlib.BoundLogger, clock: Callable[[], float]
    ) -> None:
        self._name = name
        self._log = log
        self._clock = clock
        self._errors = metrics.redis_errors.labels(redis=name)
        self._up = metrics.redis_up.labels(redis=name)
        self._up.set(0)
        self.is_there = False
        """Whether it answers now."""
        self.at = 0.0
        """When it answered last, monotonic seconds."""
        self._was_there = False
        self._last_error: TaskQueueError | None = None

    @property
    def not_ready(self) -> str | None:
        """Why nothing can be answered yet; None once Redis has answered for the first time."""
        if self._was_there:
            return None
        return f"Redis {self._name!r} has not answered yet: {self._last_error or 'connecting'}"

    def answered(self) -> bool:
        """Note that Redis answered; return whether it did not before."""
        self.at = self._clock()
        if self.is_there:
            return False
        self.is_there = self._was_there = True
        self._up.set(1)
        self._log.info("redis is reachable")
        return True

    def lost(self, error: TaskQueueError) -> None:
        """Note that Redis does not answer any more."""
        if self.is_there or self._last_error is None:
            self._log.warning("redis is not reachable", error=str(error))
        self.is_there = False
        self._last_error = error
        self._up.set(0)
        self._errors.inc()
