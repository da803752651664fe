"""What other sizings would have cost."""

from __future__ import annotations

import random
from dataclasses import replace

from ark_sizing import advice
from ark_sizing.advice import advise
from ark_sizing.setting import FIXED
from ark_sizing.simulation import Pool, Task

POOL = Pool(slots=5, start_seconds=5.0, max_replicas=20)
PRESENT = replace(FIXED, tasks_per_replica=3)


def poisson(tasks: int, per_second: float = 2.0) -> list[Task]:
    chance = random.Random(9)
    made, at = [], 1000.0
    for _ in range(tasks):
        at += chance.expovariate(per_second)
        made.append(Task(at, 2.0 + chance.expovariate(1 / 3.0)))
    return made


def test_the_cheapest_settings_keep_their_waits_and_the_longer_the_cheaper() -> None:
    found = advise(poisson(800), POOL, PRESENT, (2.0, 20.0, 100.0))
    kept = [point for point in found.cheapest.values() if point is not None]
    assert len(kept) == 3
    assert all(point.outcome.wait(95) <= wait for wait, point in zip(found.cheapest, kept, strict=True))
    costs = [point.outcome.replica_seconds for point in kept]
    assert costs == sorted(costs, reverse=True)
    assert found.bound <= found.present.outcome.replica_seconds


def test_a_wait_that_none_keeps_has_no_setting() -> None:
    every_minute = [Task(600.0 * number, 5.0) for number in range(30)]
    assert advise(every_minute, POOL, PRESENT, (0.5,)).cheapest == {0.5: None}, "each task wakes the pool"


def test_the_last_tasks_of_many_are_played() -> None:
    tasks = poisson(advice.MOST_TASKS + 50, per_second=50.0)
    found = advise(tasks, replace(POOL, max_replicas=60), PRESENT, ())
    assert found.tasks == advice.MOST_TASKS
    assert found.seconds < tasks[-1].at - tasks[0].at


def test_the_present_setting_is_among_those_that_were_tried() -> None:
    found = advise(poisson(200), POOL, PRESENT, ())
    assert found.tried[0] == found.present
    assert found.present.setting == PRESENT
    assert found.best in found.tried
