"""Whether the daily token budgets of one Redis' queues are exceeded: layer 1b, no demand for work that cannot be done.

Usage is read like depths, many in one pipeline; what was read counts for a second. While Redis fails the last reading
is held, like a depth.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

from ark_scaler.readers.batch import PAGE, BatchReader
from ark_scaler.readers.held import HeldReader
from ark_scaler.readers.redis import Ledger
from ark_taskqueue import Budget, QueueKeys, TokenUsage

_FRESH_SECONDS = 1.0
_SHOWN_SECONDS = 10.0
"""A scrape reads again what is older than this."""
_FORGET_SECONDS = 600.0


class Budgets:
    """Knows which budgets are exceeded.

    Args:
        name: the Redis connection's name.
        reader: reads.
        hold_seconds: how long the last good reading is answered while Redis fails.
        clock: monotonic time, seconds.
    """

    def __init__(
        self,
        name: str,
        reader: BatchReader[Ledger, TokenUsage],
        hold_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._held = HeldReader(name, reader, _FRESH_SECONDS, hold_seconds, clock)
        self._hold_seconds = hold_seconds
        self._clock = clock
        self._asked: dict[Ledger, float] = {}
        """When somebody asked about a queue with this budget last, whether its ledger was read then or not."""
        self._swept_at = 0.0

    def note(self, queue: QueueKeys, budget: Budget) -> None:
        """Note that a trigger has a budget: a scrape shows it, also while its queue is idle and no call reads it."""
        now = self._clock()
        self._asked[queue, budget] = now
        self._sweep(now)

    async def refresh(self) -> None:
        """Read what a scrape shows, as far as Redis answers: each budget whose reading is old."""
        now = self._clock()
        unread = (float("-inf"), None)
        old = [key for key in self._asked if now - self._held.known.get(key, unread)[0] > _SHOWN_SECONDS]
        for start in range(0, len(old), PAGE):
            page = old[start : start + PAGE]
            for key, usage in zip(page, await self._reader.read_page([(key, 0) for key in page]), strict=True):
                if isinstance(usage, TokenUsage):
                    self._held.known[key] = (now, usage)

    async def exceeded_for(self, queue: QueueKeys, budget: Budget, within: float | None = None) -> float:
        """Return how long a budget will be exceeded, seconds: 0 where it is not, infinity where it always will be.

        Args:
            queue: whose ledger.
            budget: what may be spent.
            within: the most that this call may take, seconds; the reader's own timeout where None.

        Raises:
            NothingKnown: Redis fails and no reading is recent enough.
            RedisRefused: the ledger cannot be read as it is.
        """
        read_at, usage = await self._held.read((queue, budget), f"the token usage of {queue.name!r}", within)
        left = _left(usage)
        return max(0.0, left - (self._clock() - read_at)) if left > 0 else 0.0

    def known(self) -> Iterator[tuple[QueueKeys, Budget, TokenUsage]]:
        """Yield queue, budget and usage wherever a reading is not too old to hold.

        Each queue once, with the budget that was asked about last: a limit that was changed is known twice for a while.
        """
        oldest = self._clock() - self._hold_seconds
        recent = {key: (at, usage) for key, (at, usage) in self._held.known.items() if at >= oldest}
        newest = {key[0]: key for key in sorted(recent, key=lambda key: recent[key][0])}
        for queue, (_, budget) in newest.items():
            yield queue, budget, recent[queue, budget][1]

    async def run(self) -> None:
        """Return reads until cancelled."""
        await self._held.run()

    def _sweep(self, now: float) -> None:
        if now - self._swept_at < _FORGET_SECONDS:
            return
        self._swept_at = now
        for key in [key for key, at in self._asked.items() if now - at > _FORGET_SECONDS]:
            del self._asked[key]
            self._held.known.pop(key, None)


def _left(usage: TokenUsage) -> float:
    """Return how long the budget was still exceeded when it was read."""
    if not usage.exceeded:
        return 0.0
    return math.inf if usage.seconds is None else max(usage.seconds, 0.001)
