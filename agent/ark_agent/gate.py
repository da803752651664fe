"""Whether a worker takes tasks: it does not while it knows that it could not do them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

Reason = Literal["budget", "provider", "agent", "handler"]
"""The daily budget is used up; the provider asks to come back later; it refuses the agent's key or model; a handler of
the user's own has said that a task cannot be done now."""


class NotNow(Exception):
    """A task cannot be done now, through no fault of its own: it goes back to its place, and that is no attempt.

    A handler lets it pass.
    """


class Gate:
    """Closed for a while, for one reason or several."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            clock: monotonic time, seconds.
        """
        self._clock = clock
        self._until: dict[Reason, float] = {}

    def close(self, reason: Reason, seconds: float) -> None:
        """Stay closed for so long from now on, whatever was said for that reason before."""
        self._until[reason] = self._clock() + seconds

    def open(self, reason: Reason) -> None:
        """Be closed for that reason no longer."""
        self._until.pop(reason, None)

    def closed(self, reason: Reason) -> bool:
        """Whether it is closed for that reason."""
        return self._until.get(reason, float("-inf")) > self._clock()

    @property
    def seconds(self) -> float:
        """How long it stays closed; 0 when it is open."""
        return max(0.0, max(self._until.values(), default=0.0) - self._clock())
