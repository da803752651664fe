"""A token bucket: so many a second on average, so many at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class RateLimit:
    """Bounds how often something is done.

    Args:
        per_second: tokens that come back in a second.
        burst: tokens that there are at most.
        clock: monotonic time, seconds.
    """

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        if per_second <= 0 or burst < 1:
            raise ValueError(f"a rate limit of {per_second:g} a second, {burst} at once would let nothing through")
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._at = clock()

    def reserve(self) -> float:
        """Take a token and return how long to wait until it is there, seconds; 0 where it is."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second) - 1
        self._at = now
        return max(0.0, -self._tokens / self._per_second)

    async def wait(self) -> None:
        """Take a token, and wait until it is there."""
        if (seconds := self.reserve()) > 0:
            await asyncio.sleep(seconds)
