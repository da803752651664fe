"""What a pool's last tasks would have cost, and waited, with other sizings."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ark_sizing.bound import clairvoyant_seconds
from ark_sizing.choice import Objective
from ark_sizing.setting import TUNED_REDIS_STREAMS, Base, Setting
from ark_sizing.simulation import Outcome, Pool, Task, averaged

MOST_TASKS = 10_000
"""The last ones; some ten seconds for all settings."""
_SHORT_SECONDS = 7200.0
"""In less than this it matters when the HPA looks, see `averaged`."""
_RESERVES = (0.0, 1.0, 2.0, 4.0)
_PATIENCE_SECONDS = (15.0, 60.0, 300.0)
_BASES = (None, Base(0.7, 300), Base(0.9, 600))
_WAIT_SECONDS = (15.0, 60.0, 240.0, 960.0)
"""Waits that a pool is scaled for, where tasks may wait."""


@dataclass(frozen=True, slots=True)
class Point:
    """A setting, and what comes of it."""

    setting: Setting
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Advice:
    """What is known of one pool."""

    tasks: int
    """That were played."""
    seconds: float
    """From the first of them to the last."""
    present: Point
    rival: Point
    """KEDA's redis-streams, set up as well as its documentation allows."""
    best: Point
    """By the default objective (ADR 18)."""
    cheapest: Mapping[float, Point | None]
    """By the wait that p95 keeps, seconds; None where none does."""
    tried: Sequence[Point]
    """All of Ark's, the present one among them."""
    bound: float
    """Replica-seconds of a pool that knows the future and lets nobody wait."""


def advise(tasks: Sequence[Task], pool: Pool, present: Setting, waits: Iterable[float]) -> Advice:
    """Play a pool's tasks with many settings.

    Args:
        tasks: at least one, in the order in which they are added.
        pool: what does not depend on the sizing.
        present: the setting that the pool has.
        waits: what p95 is to be, seconds, for each of which the cheapest setting is looked for.
    """
    began = tasks[-MOST_TASKS:][0].at
    played = [Task(task.at - began, task.seconds) for task in tasks[-MOST_TASKS:]]
    seconds = played[-1].at
    syncs = 3 if seconds < _SHORT_SECONDS else 1

    def point(setting: Setting) -> Point:
        return Point(setting, averaged([played] * syncs, setting, pool))

    service = fmean(task.seconds for task in played)
    rival = point(TUNED_REDIS_STREAMS)
    objective = Objective(len(played), service, pool, rival.outcome)
    tried = [point(setting) for setting in dict.fromkeys([present, *_settings()])]
    return Advice(
        tasks=len(played),
        seconds=seconds,
        present=tried[0],
        rival=rival,
        best=min(tried, key=lambda one: objective.key(one.outcome)),
        cheapest={wait: _cheapest(tried, wait) for wait in waits},
        tried=tried,
        bound=clairvoyant_seconds(played, pool.slots, pool.start_seconds),
    )


def _settings() -> Iterable[Setting]:
    for reserve, patience, base in itertools.product(_RESERVES, _PATIENCE_SECONDS, _BASES):
        yield Setting(reserve, patience, base)
    for wait in _WAIT_SECONDS:
        yield Setting(patience_seconds=_PATIENCE_SECONDS[0], target_wait_seconds=wait)


def _cheapest(tried: Sequence[Point], wait: float) -> Point | None:
    keeping = [one for one in tried if one.outcome.wait(95) <= wait]
    return min(keeping, key=lambda one: one.outcome.replica_seconds, default=None)
