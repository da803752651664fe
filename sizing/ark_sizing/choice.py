"""The setting that would have been best for what a queue's record has seen (ADR 18)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from ark_sizing.record import Sample, Span, sample_of
from ark_sizing.setting import TUNED_REDIS_STREAMS, Base, Setting
from ark_sizing.simulation import Outcome, Pool, averaged

LEAST_TASKS = 500
"""In a record that a sizing may be chosen by. The worst twentieth of fewer is what chance made of a handful."""
LEAST_SECONDS = 1200.0
"""From the first span of such a record to the last one."""
KEEPS_WITHIN = 0.05
"""A sizing stays while no other one is better by more than this share: numbers that flicker help nobody."""
_KEEPS_WITH = 0.5
"""Of the least record, by which a chosen sizing stays."""

_COLD_SHARE = 0.1
"""That many of the tasks may meet a cold pool, and it counts as much as paying for the work twice."""
_SHORT_P95, _SHORT_MEAN = 0.03, 0.01
"""Of what a task takes from a cold pool: waits that are short, whatever redis-streams has."""
_MARGIN = 0.9
"""Of a wanted wait, that the record must have kept: what comes is not quite what was."""

_RESERVES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_PATIENCE_SECONDS = (15.0, 30.0, 60.0, 120.0, 300.0)
_QUANTILES = (None, 0.7, 0.8, 0.9, 0.95)
"""Of the base; None for none."""
_WINDOW_SECONDS = (300, 600, 900)
_WAIT_FACTORS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Of the wanted wait: that a waiting task asks for no more than its share of a slot keeps p95 far below it."""
_FIRST = ((0, 2, 5), (0, 2, 4), (0, 2, 4), (0,), (0, 2, 4))
"""Where on each axis the search looks first."""
_BESIDE = ((0, 2, 5), (0,), (0, 2), (0,), (0, 2, 4))
"""The same beside a present sizing, from which steps alone may lead to the best one near it and no further."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a sizing would have made of the record."""

    wait_seconds: float
    """That 95 % of the tasks would have waited at most."""
    replicas: float
    """That the pool would have had on average."""


@dataclass(frozen=True, slots=True)
class Sizing:
    """How a pool should be scaled."""

    setting: Setting
    why: str
    """What decided it, for a person."""
    expected: Expected | None
    """None where the record was too short."""


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
        target_wait_seconds: what 95 % of the tasks may wait; None for the objective of `Objective`.
        present: the sizing that was chosen before, which stays unless another is clearly better; None where none was.
    """
    short = too_short(record, present)
    if short is not None:
        return Sizing(safe, short, None)
    search = _Search(sample_of(record, LEAST_TASKS, LEAST_SECONDS), pool, target_wait_seconds)
    found = search.best(present)
    if present is not None and not _clearly_better(search.key(found), search.key(present)):
        return Sizing(present, "no other sizing is clearly better", search.expected(present))
    missed = search.key(found)[0] > 0
    if target_wait_seconds is None:
        why = "none keeps waits as short as KEDA's redis-streams does" if missed else "cheapest for its waits"
    elif missed:
        why = f"the shortest wait; none keeps p95 within {target_wait_seconds:g} s"
    else:
        why = f"cheapest that keeps p95 within {target_wait_seconds:g} s"
    return Sizing(found, why, search.expected(found))


def too_short(record: Sequence[Span], present: Setting | None = None) -> str | None:
    """Return why a record decides nothing, for a person; None where it does.

    Args:
        record: the queue's spans, the oldest first.
        present: the sizing that was chosen before, for which half of a record is enough; None where none was.
    """
    tasks, seen = sum(span.arrivals for span in record), record[-1].at - record[0].at if record else 0.0
    least = 1.0 if present is None else _KEEPS_WITH
    if tasks >= least * LEAST_TASKS and seen >= least * LEAST_SECONDS:
        return None
    return f"the record has {tasks} tasks in {seen / 60:.0f} min, too few to go by"


def relative_cost(outcome: Outcome, tasks: int, service: float, pool: Pool) -> float:
    """Return what is paid and waited for, in units of the work (ADR 18).

    Paid: slot-seconds by seconds of work; 1 is a pool that is never idle. Waited: the mean wait in units of what a task
    takes from a cold pool, a Pod's start and its own work. One task in ten that meets a cold pool counts as much as
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


Key = tuple[float, float]
"""What is compared: by what share a limit of the waits is missed, and the cost."""


@dataclass(frozen=True, slots=True)
class Objective:
    """The default one: the least relative cost at which tasks wait no longer than with KEDA's redis-streams.

    No longer on average, and no longer at p95, except where that is short for anybody.
    """

    tasks: int
    service: float
    pool: Pool
    rival: Outcome

    def key(self, outcome: Outcome) -> Key:
        """Return what settings are compared by."""
        cold = self.pool.start_seconds + self.service
        p95 = max(self.rival.wait(95), _SHORT_P95 * cold)
        mean = max(fmean(self.rival.waits), _SHORT_MEAN * cold)
        missed = max(outcome.wait(95) / p95, fmean(outcome.waits) / mean) - 1.0
        return max(0.0, missed), relative_cost(outcome, self.tasks, self.service, self.pool)


@dataclass(frozen=True, slots=True)
class _WantedWait:
    """The cheapest setting that keeps it."""

    seconds: float

    def key(self, outcome: Outcome) -> Key:
        return max(0.0, outcome.wait(95) / (_MARGIN * self.seconds) - 1.0), outcome.replica_seconds


def _clearly_better(found: Key, present: Key) -> bool:
    """Return whether a change is worth it: it misses no more, and less by far or at less cost."""
    if present[0] - found[0] > KEEPS_WITHIN:
        return True
    return found[0] <= present[0] and found[1] < present[1] * (1 - KEEPS_WITHIN)


_Place = tuple[int, ...]
"""A setting, as an index on each axis."""


class _Search:
    """Looks at a coarse grid first, or at what there is; then around the best of it: some 40 replays, not 600."""

    def __init__(self, sample: Sample, pool: Pool, target: float | None) -> None:
        self._plays = sample.plays
        self._pool = pool if sample.every == 1 else pool.smaller(sample.every)
        self._every, self._seconds = sample.every, sample.seconds
        self._target = target
        self._outcomes: dict[Setting, Outcome] = {}
        if target is None:
            rival = self._outcome(TUNED_REDIS_STREAMS)
            self._objective: Objective | _WantedWait = Objective(
                len(sample.plays[0]), sample.service, self._pool, rival
            )
        else:
            self._objective = _WantedWait(target)

    def _outcome(self, setting: Setting) -> Outcome:
        if setting not in self._outcomes:
            self._outcomes[setting] = averaged(self._plays, setting, self._pool)
        return self._outcomes[setting]

    def expected(self, setting: Setting) -> Expected:
        """Return what a setting would have made of the record."""
        outcome = averaged(self._plays, setting, self._pool, self._seconds)
        return Expected(outcome.wait(95), outcome.replica_seconds * self._every / self._seconds)

    def key(self, setting: Setting) -> Key:
        """Return what settings are compared by."""
        return self._objective.key(self._outcome(setting))

    def best(self, present: Setting | None) -> Setting:
        """Return the best setting that steps lead to from a coarse grid; from a coarser one and the present setting."""
        here = None if present is None else self._place_of(present)
        axes = self._axes(_FIRST if here is None else _BESIDE)
        first = [[index for index in indices if index < places] for places, indices in axes]
        best = self._best_of([*itertools.product(*first), *([] if here is None else [here])])
        while True:
            near = self._best_of(self._neighbours(best))
            if self.key(self._at(near)) >= self.key(self._at(best)):
                return self._at(best)
            best = near

    def _best_of(self, places: Iterable[_Place]) -> _Place:
        return min(places, key=lambda place: self.key(self._at(place)))

    @property
    def _waits(self) -> Sequence[float | None]:
        return (None,) if self._target is None else [self._target * factor for factor in _WAIT_FACTORS]

    def _axes(self, values: Iterable[Sequence[int]]) -> Iterator[tuple[int, Sequence[int]]]:
        """Yield how many places each axis has, with a value of its own."""
        axes = (_RESERVES, _PATIENCE_SECONDS, _QUANTILES, _WINDOW_SECONDS, self._waits)
        yield from zip(map(len, axes), values, strict=True)

    def _at(self, place: _Place) -> Setting:
        reserve, patience, quantile, window, wait = place
        share = _QUANTILES[quantile]
        base = None if share is None else Base(share, _WINDOW_SECONDS[window])
        return Setting(_RESERVES[reserve], _PATIENCE_SECONDS[patience], base, target_wait_seconds=self._waits[wait])

    def _place_of(self, setting: Setting) -> _Place | None:
        """Return where a setting is; None where it is none of those that are looked at."""
        try:
            return (
                _RESERVES.index(setting.reserve),
                _PATIENCE_SECONDS.index(setting.patience_seconds),
                0 if setting.base is None else _QUANTILES.index(setting.base.quantile),
                0 if setting.base is None else _WINDOW_SECONDS.index(setting.base.window_seconds),
                self._waits.index(setting.target_wait_seconds),
            )
        except ValueError:
            return None

    def _neighbours(self, place: _Place) -> Iterator[_Place]:
        """Yield the places one step away on one axis."""
        for axis, (places, _) in enumerate(self._axes([()] * len(place))):
            for step in (-1, 1):
                if 0 <= place[axis] + step < places:
                    yield (*place[:axis], place[axis] + step, *place[axis + 1 :])
