"""The time of one attempt at a task, without the time in which it had to wait for its budget or its provider."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self


class AttemptClock:
    """Ends its context with TimeoutError when the time is over; stands still while anything in it is `paused`.

    Args:
        seconds: the most that the attempt may take.
    """

    def __init__(self, seconds: float) -> None:
        self._timeout = asyncio.timeout(seconds)
        self._pauses = 0
        self._left = 0.0
        self._ended = False
        """Whether the context is left; a call may outlive it, in a task that a handler did not wait for."""

    @property
    def is_over(self) -> bool:
        """Whether the context was ended because its time was over."""
        return self._timeout.expired()

    def over_for(self, now: float) -> float:
        """Return for how many seconds the context has outlived its time; 0 where it has not, or is left.

        Args:
            now: the event loop's time.
        """
        when = self._timeout.when()
        outlives = when is not None and self._timeout.expired() and not self._ended
        return now - (when or 0.0) if outlives else 0.0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let the time stand still; several calls of one task may do so at a time."""
        loop = asyncio.get_running_loop()
        self._pauses += 1
        if self._pauses == 1:
            when = self._timeout.when()
            self._left = 0.0 if when is None else when - loop.time()
            self._set(None)
        try:
            yield
        finally:
            self._pauses -= 1
            if self._pauses == 0:
                self._set(loop.time() + self._left)

    def _set(self, when: float | None) -> None:
        if not self._ended and not self._timeout.expired():
            self._timeout.reschedule(when)

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        await self._timeout.__aexit__(kind, error, trace)
