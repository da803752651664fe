"""What triggers' bases go by: the last minutes of queues' records of demand.

They are read like depths, many in one pipeline, and change every ten seconds. While Redis fails the last reading is
held, like a depth.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from ark_scaler.errors import NothingKnown
from ark_scaler.readers.batch import BatchReader
from ark_scaler.readers.redis import Window
from ark_taskqueue import DemandSpan, QueueKeys, RedisUnavailable

_FRESH_SECONDS = 10.0
_FORGET_SECONDS = 600.0


class Bases:
    """Knows the last spans of the queues whose triggers have a base.

    Args:
        name: the Redis connection's name.
        reader: reads.
        hold_seconds: how long the last good reading is answered while Redis fails.
        clock: monotonic time, seconds.
    """

    def __init__(
        self,
        name: str,
        reader: BatchReader[Window, Sequence[DemandSpan]],
        hold_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._reader = reader
        self._hold_seconds = hold_seconds
        self._clock = clock
        self._known: dict[Window, tuple[float, Sequence[DemandSpan]]] = {}
        self._swept_at = clock()

    async def spans(self, queue: QueueKeys, seconds: int, within: float) -> Sequence[DemandSpan]:
        """Return the spans of a queue's last while, at most ten seconds old.

        Args:
            queue: whose.
            seconds: how far they go back.
            within: the most that this call may take, seconds.

        Raises:
            NothingKnown: Redis fails and no reading is recent enough.
            RedisRefused: the record cannot be read.
        """
        now, window = self._clock(), (queue, seconds)
        self._sweep(now)
        known = self._known.get(window)
        if known is not None and now - known[0] <= _FRESH_SECONDS:
            return known[1]
        try:
            async with asyncio.timeout(within):
                self._known[window] = (now, await self._reader.read(window))
        except (RedisUnavailable, TimeoutError) as error:
            if known is None or now - known[0] > max(self._hold_seconds, _FRESH_SECONDS):
                reason = str(error) or "no answer in time"
                raise NothingKnown(
                    f"Redis {self._name!r} is failing and the recent demand of {queue.name!r} is unknown: {reason}"
                ) from error
        return self._known[window][1]

    async def run(self) -> None:
        """Return reads until cancelled."""
        await self._reader.run()

    def _sweep(self, now: float) -> None:
        """Forget what nobody has asked about for long."""
        if now - self._swept_at > _FORGET_SECONDS:
            self._swept_at = now
            self._known = {window: known for window, known in self._known.items() if now - known[0] <= _FORGET_SECONDS}
