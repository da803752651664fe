"""The rhythm in which each Redis is read: a few agents often, all of them now and then, single ones on request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from ark_kube.objects import Key


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """What one round is to read."""

    asked: tuple[Key, ...]
    """Agents that somebody wants to be read at once."""
    few: bool
    """Whether those that need a fresh reading are due; always where all of them are."""
    all: bool
    """Whether all of them are due."""


class ReadingSchedule:
    """Makes rounds, one after the other for each Redis; no Redis waits for another.

    Args:
        names: Redis connections.
        look: makes one round; must bound its own time.
        few_seconds: time between two rounds.
        all_seconds: time between two rounds of all agents.
        clock: monotonic time, seconds.
    """

    def __init__(
        self,
        names: Iterable[str],
        look: Callable[[str, ReadRequest], Awaitable[None]],
        *,
        few_seconds: float,
        all_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._few_seconds = few_seconds
        self._all_seconds = all_seconds
        self._clock = clock
        self._asked: dict[str, set[Key]] = {name: set() for name in names}
        self._wanted = {name: asyncio.Event() for name in self._asked}

    def ask(self, name: str, key: Key) -> None:
        """Have an agent read at once; nothing happens where nobody knows its Redis."""
        if name in self._asked:
            self._asked[name].add(key)
            self._wanted[name].set()

    async def run(self) -> None:
        """Make rounds until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name in self._asked:
                group.create_task(self._follow(name))

    async def _follow(self, name: str) -> None:
        next_all = next_few = self._clock()
        while True:
            now = self._clock()
            asked = tuple(self._asked[name])
            self._asked[name].clear()
            self._wanted[name].clear()
            all_due, few_due = now >= next_all, now >= next_few
            if all_due:
                next_all = now + self._all_seconds
            if few_due:
                next_few = now + self._few_seconds
            await self._look(name, ReadRequest(asked, few_due or all_due, all_due))
            await self._pause(name, min(next_all, next_few))

    async def _pause(self, name: str, until: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, until - self._clock())):
                await self._wanted[name].wait()
        except TimeoutError:
            pass  # the next round is due
