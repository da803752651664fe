"""Reads the queues with open streams when they are due."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from ark_scaler.decision.following import RETRY_SECONDS, Followed
from ark_scaler.known_queue import KnownQueue
from ark_taskqueue import QueueKeys

_TICK_SECONDS = 0.25


class Follower:
    """Keeps the readings that are planned.

    Args:
        read: reads queues, and plans anew.
        can_read: whether Redis answers; until then nothing is read, and nothing is forgotten.
        clock: monotonic time, seconds.
    """

    def __init__(
        self,
        read: Callable[[Sequence[KnownQueue]], Awaitable[None]],
        can_read: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._read = read
        self._can_read = can_read
        self._clock = clock
        self._due: dict[QueueKeys, KnownQueue] = {}
        self._work = asyncio.Event()

    def plan(self, known: KnownQueue, followed: Followed) -> None:
        """Have a queue read as planned."""
        known.followed = followed
        if followed.due_at is None:
            self._due.pop(known.queue, None)
        else:
            self._due[known.queue] = known

    def read_soon(self, known: KnownQueue) -> None:
        """Have a queue read at once."""
        self.plan(known, replace(known.followed, due_at=self._clock()))
        self._work.set()

    def read_later(self, known: KnownQueue) -> None:
        """Have a queue read again whose reading failed, unless a reading is planned."""
        if known.subscriptions and known.followed.due_at is None:
            self.plan(known, replace(known.followed, due_at=self._clock() + RETRY_SECONDS))

    def forget(self, known: KnownQueue) -> None:
        """Plan nothing more for a queue."""
        self.plan(known, Followed())

    async def run(self) -> None:
        """Read the queues that are due until cancelled, at once when one becomes due now."""
        while True:
            try:
                async with asyncio.timeout(_TICK_SECONDS if self._due else None):
                    await self._work.wait()
            except TimeoutError:
                pass  # a tick: look at what is due
            self._work.clear()
            now = self._clock()
            due = [known for known in self._due.values() if (at := known.followed.due_at) is not None and at <= now]
            if due and self._can_read():
                for known in due:
                    self.plan(known, replace(known.followed, due_at=None))
                await self._read(due)
