"""Made-up arrivals: steady ones, a daily pattern, and bursts. The same ones each time."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from ark_sizing.simulation import Task

DAY_SECONDS = 86_400.0
_LEAST_SERVICE_SECONDS, _MEAN_SERVICE_SECONDS = 2.0, 4.8
"""About what the public trace's requests take by `service_seconds`."""
_LOAD = 0.8
"""Of the slots, on average, that a steady load keeps busy."""


def service_seconds(output_tokens: int) -> float:
    """Return how long a request of a trace works: two seconds, and a tenth for each generated token."""
    return _LEAST_SERVICE_SECONDS + 0.1 * output_tokens


def steady(replicas: int, slots: int, seconds: float, seed: int = 1) -> list[Task]:
    """Return a Poisson process that keeps 80 % of a pool's slots busy."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    return _poisson(chance, _LOAD * replicas * slots / _MEAN_SERVICE_SECONDS, seconds)


def daily(days: int, night: float, noon: float, seed: int = 2) -> list[Task]:
    """Return days whose mornings rise and evenings fall, modulated by a Markov chain.

    Args:
        days: how many.
        night: tasks a second at midnight.
        noon: tasks a second at noon; both on average.
        seed: of chance.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    # The rate is one of these multiples, equally likely, for so many seconds on average; their mean is 1.
    levels, mean_hold = (0.4, 0.8, 1.8), 300.0
    candidates = _poisson(chance, max(night, noon) * max(levels), days * DAY_SECONDS)
    kept, level, changes_at = [], 1.0, 0.0
    for task in candidates:
        while task.at >= changes_at:
            level, changes_at = chance.choice(levels), changes_at + chance.expovariate(1 / mean_hold)
        day = 0.5 - 0.5 * math.cos(2 * math.pi * task.at / DAY_SECONDS)
        rate = level * (night + (noon - night) * day)
        if chance.random() * max(night, noon) * max(levels) < rate:
            kept.append(task)
    return kept


def bursts(seconds: float, seed: int = 101) -> list[Task]:
    """Return a low load with bursts of some 25 tasks every 45 s, of very different sizes and lengths."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    tasks, at = _poisson(chance, 0.8, seconds), 0.0
    while (at := at + chance.expovariate(1 / 45)) < seconds:
        within = chance.uniform(1.0, 15.0)
        tasks += [_task(chance, at + chance.random() * within) for _ in range(round(chance.lognormvariate(3.2, 0.8)))]
    return sorted(tasks)


def halves(tasks: Sequence[Task], at: float) -> tuple[list[Task], list[Task]]:
    """Return what comes before a moment, and what comes after it as if it were the beginning."""
    return [task for task in tasks if task.at < at], [
        Task(task.at - at, task.seconds) for task in tasks if task.at >= at
    ]


def _poisson(chance: random.Random, per_second: float, seconds: float) -> list[Task]:
    tasks, at = [], 0.0
    while (at := at + chance.expovariate(per_second)) < seconds:
        tasks.append(_task(chance, at))
    return tasks


def _task(chance: random.Random, at: float) -> Task:
    more = chance.expovariate(1 / (_MEAN_SERVICE_SECONDS - _LEAST_SERVICE_SECONDS))
    return Task(at, _LEAST_SERVICE_SECONDS + more)
