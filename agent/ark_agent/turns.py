"""Which priority a worker tries first: the highest, but lower ones have a share of its slots, so that none starves."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from ark_taskqueue import PRIORITIES, Priority

_PAUSE_SECONDS = 1.0


class Turns:
    """Decides when it is the turn of lower priorities.

    While higher ones wait, the lower ones have `share` of the slots' time: a claim is theirs where their balance is not
    negative. It rises by ``share x slots`` a second, and falls by one for each slot that works on a task of such a
    turn. With ten slots, one of which is theirs, it stays at zero; a single slot pays for each of their tasks with nine
    times its duration of higher ones. A turn that finds no lower task ends at zero, so nothing is saved up. The next
    one comes after a pause then: a turn takes one task, and what lower priorities have may all be in flight.

    Before its first turn a worker draws lots. Else all new workers would begin with a lower task, just when a burst of
    higher ones has called them; and workers that end after one task would never take any.

    Args:
        share: of the slots, 0 to 1.
        slots: tasks that the worker may hold.
        chance: returns a random number from 0 to 1.
    """

    def __init__(self, share: float, slots: int, chance: Callable[[], float] = random.random) -> None:
        self._rate = share * slots
        self._chance = chance
        self._balance: float | None = None
        self._left = 0.0
        """Of the balance that the last turn was offered for."""
        self._at = 0.0
        self._held = 0
        self._taken = 0
        self._not_before = float("-inf")

    def order(self, now: float, used: Sequence[Priority], held: int) -> Sequence[Priority] | None:
        """Return the order in which one task is to be taken, where it is the turn of lower priorities; else None.

        Args:
            now: monotonic time, seconds.
            used: priorities that the queue has tasks of, waiting or in flight, highest first.
            held: tasks of such turns that the worker works on.
        """
        self._settle(now, held)
        lower = used[1:]
        if not lower and self._balance is not None:
            self._balance = min(0.0, self._balance)
        if not lower or now < self._not_before or held >= max(1.0, self._rate):
            return None
        if self._chance() >= self._rate if self._balance is None else self._balance < 0:
            return None
        if self._balance is not None:
            self._left, self._balance = self._balance, 0.0
        self._not_before = now + _PAUSE_SECONDS
        first = self._taken % len(lower)  # each in turn: one may have more tasks than the share can do
        return [*lower[first:], *lower[:first], *(other for other in PRIORITIES if other not in lower)]

    def taken(self, now: float) -> None:
        """Note that a lower task was taken in its turn."""
        self._settle(now, self._held)
        self._balance, self._left = (self._balance or 0.0) + self._left, 0.0
        self._held += 1
        self._taken += 1
        self._not_before = now

    def _settle(self, now: float, held: int) -> None:
        if self._balance is not None:
            self._balance += (self._rate - self._held) * (now - self._at)
        self._at, self._held = now, held
