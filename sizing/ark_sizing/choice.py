"""The setting that would have been best for what a queue's record has seen (ADR 18)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from ark_sizing.record import Span, service_seconds, tasks_of
from ark_sizing.setting import Base, Setting
from ark_sizing.simulation import Outcome, Pool, Task, averaged

LEAST_TASKS = 500
"""In a record that a sizing may be chosen by. The worst twentieth of fewer is what chance made of a handful."""
LEAST_SECONDS = 1200.0
"""From the first span of such a record to the last one."""
KEEPS_WITHIN = 0.05
"""A sizing stays while no other one is better by more than this share: numbers that flicker help nobody."""
_COLD_SHARE = 0.05
"""That many of the tasks may meet a cold pool, and it counts as much as paying for the work twice."""

_MARGIN = 0.9
"""Of a wanted wait, that the record must have kept: what comes is not quite what was."""

_RESERVES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
_PATIENCE_SECONDS = (15.0, 30.0, 60.0, 120.0, 300.0)
_BASES = (None, Base(0.7, 300), Base(0.8, 600), Base(0.9, 600), Base(0.95, 900))
_WAIT_FACTORS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Of the wanted wait: that a waiting task asks for no more than its share of a slot keeps p95 far below it."""
_FIRST = ((0, 2, 5), (0, 2, 4), (0, 1, 3), (0, 2, 4))
"""Where on each axis the search looks first."""


@dataclass(frozen=True, slots=True)
class Sizing:
    """How a pool should be scaled."""

    setting: Setting
    why: str
    """What decided it, for a person."""
    expected: Outcome | None
    """What it would have made of the record; None where that was too short."""


def size(
    record: Sequence[Span],
    pool: Pool,
    safe: Setting,
    target_wait_seconds: float | None = None,
    present: Setting | None = None,
) -> Sizing:
    """Return the sizing that a record asks for.

    Args:
        record: the queue's spans, the oldest first.
        pool: what does not depend on the sizing.
        safe: what to have while the record is too short.
        target_wait_seconds: what 95 % of the tasks may wait; None for the objective of `relative_cost`.
        present: the sizing that is in force, which stays unless another is clearly better.
    """
    tasks = tasks_of(record)
    seen = record[-1].at - record[0].at if record else 0.0
    if len(tasks) < LEAST_TASKS or seen < LEAST_SECONDS:
        return Sizing(safe, f"the record has {len(tasks)} tasks in {seen / 60:.0f} min, too few to go by", None)
    search = _Search(tasks, pool, _key(record, pool, target_wait_seconds))
    found = search.best(target_wait_seconds)
    if present is not None and not _clearly_better(search.key(found), search.key(present)):
        return Sizing(present, "no other sizing is clearly better", search.outcome(present))
    if target_wait_seconds is None:
        why = "cheapest for its wait"
    elif search.outcome(found).wait(95) <= target_wait_seconds:
        why = f"cheapest that keeps p95 within {target_wait_seconds:g} s"
    else:
        why = f"the shortest wait; none keeps p95 within {target_wait_seconds:g} s"
    return Sizing(found, why, search.outcome(found))


def relative_cost(outcome: Outcome, tasks: int, service: float, pool: Pool) -> float:
    """Return what is paid and waited for, in units of the work: the default objective (ADR 18).

    Paid: slot-seconds by seconds of work; 1 is a pool that is never idle. Waited: the mean wait in units of what a task
    takes from a cold pool, a Pod's start and its own work. One task in twenty that meets a cold pool counts as much as
    paying for the work twice. No unit of time and no size of the pool is in it, so it means the same for all.

    Args:
        outcome: of a simulation, or of several.
        tasks: how many there were in one of them.
        service: mean seconds of work of a task.
        pool: that was simulated.
    """
    paid = outcome.replica_seconds * pool.slots / (tasks * service)
    waited = fmean(outcome.waits) / (pool.start_seconds + service)
    return paid + waited / _COLD_SHARE


_Key = tuple[float, float]
"""What is compared: how far the wanted wait is missed, and the cost."""


def _key(record: Sequence[Span], pool: Pool, target: float | None) -> Callable[[Outcome], _Key]:
    tasks, service = sum(span.arrivals for span in record), service_seconds(record)

    def key(outcome: Outcome) -> _Key:
        if target is None:
            return (0.0, relative_cost(outcome, tasks, service, pool))
        return (max(0.0, outcome.wait(95) - _MARGIN * target), outcome.replica_seconds)

    return key


def _clearly_better(found: _Key, present: _Key) -> bool:
    """Return whether a change is worth it: for the wanted wait it always is, and never at its cost."""
    if found[0] != present[0]:
        return found[0] < present[0]
    return found[1] < present[1] * (1 - KEEPS_WITHIN)


class _Search:
    """Looks at a coarse grid first, then around the best of it: some 40 replays instead of 175, or of 875."""

    def __init__(self, tasks: Sequence[Task], pool: Pool, key: Callable[[Outcome], _Key]) -> None:
        self._tasks, self._pool, self._key = tasks, pool, key
        self._outcomes: dict[Setting, Outcome] = {}

    def outcome(self, setting: Setting) -> Outcome:
        """Return what a setting would have made of the tasks."""
        if setting not in self._outcomes:
            self._outcomes[setting] = averaged(self._tasks, setting, self._pool)
        return self._outcomes[setting]

    def key(self, setting: Setting) -> _Key:
        """Return what settings are compared by."""
        return self._key(self.outcome(setting))

    def best(self, target_wait_seconds: float | None) -> Setting:
        """Return the best setting."""
        waits = (None,) if target_wait_seconds is None else tuple(target_wait_seconds * f for f in _WAIT_FACTORS)
        sizes = (len(_RESERVES), len(_PATIENCE_SECONDS), len(_BASES), len(waits))

        def at(place: tuple[int, ...]) -> Setting:
            reserve, patience, base, wait = place
            return Setting(
                _RESERVES[reserve], _PATIENCE_SECONDS[patience], _BASES[base], target_wait_seconds=waits[wait]
            )

        first = ([index for index in indices if index < places] for places, indices in zip(sizes, _FIRST, strict=True))
        best = min(itertools.product(*first), key=lambda place: self.key(at(place)))
        while True:
            near = min(_neighbours(best, sizes), key=lambda place: self.key(at(place)))
            if self.key(at(near)) >= self.key(at(best)):
                return at(best)
            best = near


def _neighbours(place: tuple[int, ...], sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield the places one step away on one axis."""
    for axis, places in enumerate(sizes):
        for step in (-1, 1):
            if 0 <= place[axis] + step < places:
                yield (*place[:axis], place[axis] + step, *place[axis + 1 :])
