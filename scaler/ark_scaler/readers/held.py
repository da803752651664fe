"""Reads values that may be a little old, and holds the last good one while Redis fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Generic

from ark_scaler.errors import NothingKnown
from ark_scaler.readers.batch import BatchReader, K, V
from ark_taskqueue import RedisUnavailable

_FORGET_SECONDS = 600.0


class HeldReader(Generic[K, V]):
    """Reads values by their keys, and remembers them.

    Args:
        name: the Redis connection's name, for errors.
        reader: reads.
        fresh_seconds: how long a value is answered without another reading.
        hold_seconds: how long it is answered while Redis fails.
        clock: monotonic time, seconds.
    """

    def __init__(
        self,
        name: str,
        reader: BatchReader[K, V],
        fresh_seconds: float,
        hold_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._reader = reader
        self._fresh_seconds = fresh_seconds
        self._hold_seconds = hold_seconds
        self._clock = clock
        self.known: dict[K, tuple[float, V]] = {}
        """Values with the moment at which they were asked for."""
        self._swept_at = clock()

    async def read(self, key: K, what: str, within: float | None = None) -> tuple[float, V]:
        """Return a value, and when it was asked for.

        Args:
            key: what is read.
            what: the same, for an error.
            within: the most that this call may take, seconds; the reader's own timeout where None.

        Raises:
            NothingKnown: Redis fails and no reading is recent enough.
            RedisRefused: this one cannot be read.
        """
        now = self._clock()
        self._sweep(now)
        known = self.known.get(key)
        if known is not None and now - known[0] <= self._fresh_seconds:
            return known
        try:
            async with asyncio.timeout(within):
                value = await self._reader.read(key)
        except (RedisUnavailable, TimeoutError) as error:
            if known is not None and now - known[0] <= self._hold_seconds:
                return known
            reason = str(error) or "no answer in time"
            raise NothingKnown(f"Redis {self._name!r} is failing and {what} is unknown: {reason}") from error
        self.known[key] = (now, value)
        return self.known[key]

    async def run(self) -> None:
        """Return reads until cancelled."""
        await self._reader.run()

    def _sweep(self, now: float) -> None:
        """Forget what was not read for long."""
        if now - self._swept_at >= _FORGET_SECONDS:
            self._swept_at = now
            oldest = now - max(_FORGET_SECONDS, self._hold_seconds)
            self.known = {key: known for key, known in self.known.items() if known[0] >= oldest}
