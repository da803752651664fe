"""Whether a worker takes tasks, and which: it takes none while it knows that it could not do them.

What a provider refuses may be the agent's fault (its key, its account) or one task's. Until an answer comes, nobody
knows; so the worker then takes one task at a time, first those that were never refused: each of them is news. Those
that were refused are tried again at longer intervals.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

Reason = Literal["budget", "provider", "handler"]
"""The daily budget is exceeded; the provider asks to come back later; a handler of the user's own has said that a task
cannot be done now."""
_PROBE_SECONDS = 1.0
"""Between two tasks while the provider refuses: with a key that is refused that is a call in each second at most."""
_BUSY_PROBE_SECONDS = 5.0
"""The same where it says that it is busy: a limit may be for large inputs alone."""
_REFUSED_SECONDS = 30.0
"""Before a task that was refused is tried again while no other one is answered."""


class NotNow(Exception):
    """A task cannot be done now, through no fault of its own: it goes back to its place, and that is no attempt.

    A handler lets it pass.
    """


class Postponed(NotNow):
    """The budget is exceeded, or the worker stops: the same would happen to any other task."""


class RefusedForNow(NotNow):
    """The provider refuses a task, and may refuse every other: it goes back, and is offered last from now on."""

    def __init__(self, message: str, *, may_count: bool = True) -> None:
        super().__init__(message)
        self.may_count = may_count
        """Whether it may turn out to be the task's fault; not where a busy provider was not waited for."""


class Gate:
    """Closed for a while, for one reason or several.

    Args:
        clock: monotonic time, seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[Reason, float] = {}
        self._closed_at: dict[Reason, float] = {}
        self._refused_at: float | None = None
        self._probe_at = 0.0

    def now(self) -> float:
        """Return the clock's time, seconds."""
        return self._clock()

    def close(self, reason: Reason, seconds: float) -> None:
        """Stay closed for so long from now on, whatever was said for that reason before."""
        self._closed_at[reason] = self._clock()
        self._until[reason] = self._clock() + seconds

    def open(self, reason: Reason) -> None:
        """Be closed for that reason no longer."""
        self._until.pop(reason, None)

    def closed(self, reason: Reason) -> bool:
        """Return whether it is closed for that reason."""
        return self._until.get(reason, float("-inf")) > self._clock()

    def refused(self, *, busy: bool) -> None:
        """Note that a task was sent back because the provider refuses it: from now on one task is tried at a time."""
        self._refused_at = self._clock()
        if busy:  # what it asks for was waited for, or is too long to be waited for
            self.open("provider")
        self._probe_at = self._refused_at + (_BUSY_PROBE_SECONDS if busy else _PROBE_SECONDS)

    def answered(self, began: float) -> None:
        """Note that the provider has answered a call that began at a moment of the clock's."""
        self._refused_at = None
        if began >= self._closed_at.get("provider", float("-inf")):
            self.open("provider")

    @property
    def refused_at(self) -> float | None:
        """When the provider refused last; None where it has answered since."""
        return self._refused_at

    @property
    def probing(self) -> bool:
        """Whether nothing was answered since the provider has refused: then one task is tried at a time."""
        return self._refused_at is not None

    @property
    def takes_refused(self) -> bool:
        """Whether a task that was refused before may be tried."""
        return self._refused_at is None or self._clock() - self._refused_at >= _REFUSED_SECONDS

    @property
    def seconds(self) -> float:
        """How long it stays closed; 0 when it is open."""
        until = max(self._until.values(), default=0.0)
        return max(0.0, max(until, self._probe_at if self.probing else 0.0) - self._clock())
