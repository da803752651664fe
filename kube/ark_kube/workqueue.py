"""The queue of what is to be reconciled: keys, not events, so that many changes of an object are one piece of work.

A key that is added is **dirty** until a worker takes it; from then on it is **processing** until the worker is done
with it. Added meanwhile it is dirty again, but nobody takes it before that: no key is ever worked on twice at once. A
key that is to come back later keeps the earliest of the moments that were asked for. (The rules of client-go's queue.)
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from ark_kube.rate_limit import RateLimit
from ark_process.backoff import Backoff

K = TypeVar("K")
_FEW_STALE = 64


class QueueMetrics(Protocol):
    """What is told of a queue; the meanings are those of controller-runtime's ``workqueue_*`` metrics."""

    def depth(self, keys: int) -> None:
        """Keys that are ready and not taken."""

    def waited(self, seconds: float) -> None:
        """How long a key was ready before it was taken."""

    def worked(self, seconds: float) -> None:
        """How long a worker had a key."""

    def retried(self) -> None:
        """A key came back with a backoff."""


class NoMetrics:
    """Tells nobody."""

    def depth(self, keys: int) -> None:
        """Ignore it."""

    def waited(self, seconds: float) -> None:
        """Ignore it."""

    def worked(self, seconds: float) -> None:
        """Ignore it."""

    def retried(self) -> None:
        """Ignore it."""


DEFAULT_BACKOFF = Backoff(first=0.05, longest=300.0, jitter=(1.0, 1.1))
"""The pause before a key that failed is tried again."""


class WorkQueue(Generic[K]):
    """Keys to work on.

    Args:
        backoff: the pause for each key.
        retries: how often keys may come back with a backoff, all together; no bound where None.
        metrics: is told what happens.
        clock: monotonic time, seconds.
    """

    def __init__(
        self,
        *,
        backoff: Backoff | None = None,
        retries: RateLimit | None = None,
        metrics: QueueMetrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backoff = backoff or DEFAULT_BACKOFF
        self._retries = retries
        self._metrics = metrics or NoMetrics()
        self._clock = clock
        self._ready: deque[K] = deque()
        self._dirty: dict[K, float] = {}
        """Since when."""
        self._processing: dict[K, float] = {}
        """Since when."""
        self._later: dict[K, tuple[float, int]] = {}
        """The moment that a key is due at, and the number of its entry in the heap."""
        self._heap: list[tuple[float, int, K]] = []
        """`_later` in order; entries whose number is not the one there are stale."""
        self._number = 0
        self._failures: dict[K, int] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        """Return how many keys are ready."""
        return len(self._ready)

    def add(self, key: K) -> None:
        """Have a key worked on as soon as can be."""
        self._later.pop(key, None)
        if key in self._dirty:
            return
        self._dirty[key] = self._clock()
        if key not in self._processing:
            self._ready.append(key)
            self._metrics.depth(len(self._ready))
            self._changed.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Have a key worked on later; an earlier moment that was asked for stays."""
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock() + seconds
        if key in self._dirty or (key in self._later and self._later[key][0] < due):
            return
        self._number += 1
        self._later[key] = (due, self._number)
        heapq.heappush(self._heap, (due, self._number, key))
        if len(self._heap) > 2 * len(self._later) + _FEW_STALE:
            self._heap = [entry for entry in self._heap if not self._is_stale(entry)]
            heapq.heapify(self._heap)
        self._changed.set()

    def add_failed(self, key: K) -> float:
        """Have a key worked on again after its backoff; return the pause, seconds."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        pause = self._backoff.pause(failures)
        if self._retries is not None:
            # Bounded: what fails all the time must not push everything else's next attempt out of sight.
            pause = max(pause, min(self._retries.reserve(), self._backoff.longest))
        self._metrics.retried()
        self.add_after(key, pause)
        return pause

    def forget(self, key: K) -> None:
        """Have the next failure of a key be its first again."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """Return how often a key has failed in a row."""
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """Take a key, as soon as there is one; `done` must follow."""
        while True:
            self._add_due()
            if self._ready:
                return self._take()
            self._changed.clear()
            try:
                async with asyncio.timeout(self._seconds_to_next()):
                    await self._changed.wait()
            except TimeoutError:
                pass  # a key is due

    def done(self, key: K) -> None:
        """Give a key back; it is ready again at once where it was added meanwhile."""
        self._metrics.worked(self._clock() - self._processing.pop(key))
        if key in self._dirty:
            self._ready.append(key)
            self._metrics.depth(len(self._ready))
            self._changed.set()

    def _take(self) -> K:
        key = self._ready.popleft()
        now = self._clock()
        self._metrics.waited(now - self._dirty.pop(key))
        self._metrics.depth(len(self._ready))
        self._processing[key] = now
        return key

    def _add_due(self) -> None:
        now = self._clock()
        while self._heap and (self._is_stale(self._heap[0]) or self._heap[0][0] <= now):
            entry = heapq.heappop(self._heap)
            if not self._is_stale(entry):
                self.add(entry[2])

    def _is_stale(self, entry: tuple[float, int, K]) -> bool:
        return self._later.get(entry[2]) != entry[:2]

    def _seconds_to_next(self) -> float | None:
        return max(0.0, self._heap[0][0] - self._clock()) if self._heap else None
