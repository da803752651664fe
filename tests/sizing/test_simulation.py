"""The simulated pool that settings are compared with."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark_sizing.setting import TUNED_REDIS_STREAMS, Base, Setting
from ark_sizing.simulation import Outcome, Pool, Task, simulate

POOL = Pool(slots=5, start_seconds=2.0, max_replicas=20)
PUSHED = Setting()


def burst(tasks: int, at: float = 1.0, seconds: float = 3.0) -> list[Task]:
    return [Task(at, seconds)] * tasks


def poisson(per_second: float, seconds: float, seed: int = 7) -> list[Task]:
    chance = random.Random(seed)
    tasks, at = [], 0.0
    while (at := at + chance.expovariate(per_second)) < seconds:
        tasks.append(Task(at, 2.0 + chance.expovariate(1 / 3.0)))
    return tasks


def test_a_task_wakes_the_pool_and_waits_for_a_pods_start() -> None:
    found = simulate(burst(1), PUSHED, POOL)
    assert found.waits == [2.0]
    assert 300 <= found.replica_seconds <= 340, "until the cooldown is over, at a poll"


def test_a_pool_that_is_never_at_zero_has_a_pod_for_the_first_task() -> None:
    found = simulate(burst(1, at=700.0), PUSHED, replace(POOL, min_replicas=2))
    assert found.waits == [0.0]
    assert 2 * 700 <= found.replica_seconds <= 2 * 710


@pytest.mark.parametrize("least", [0, 2])
@pytest.mark.parametrize("base", [None, Base(0.9, 600)])
def test_a_gap_of_weeks_takes_no_time_to_play_and_changes_nothing(least: int, base: Base | None) -> None:
    pool, setting = replace(POOL, min_replicas=least), Setting(reserve=1.0, base=base)
    hours, weeks = 2 * 3600.0, 1000 * 3600.0
    near, far = (simulate([*burst(20), *burst(20, at=gap)], setting, pool) for gap in (hours, weeks))
    assert far.waits == near.waits
    assert far.replica_seconds == near.replica_seconds + least * (weeks - hours)


def test_polling_finds_a_burst_later_than_a_push() -> None:
    assert simulate(burst(50), TUNED_REDIS_STREAMS, POOL).wait(95) > simulate(burst(50), PUSHED, POOL).wait(95)


def test_what_is_more_than_the_pool_may_have_waits_for_a_free_slot() -> None:
    waits = simulate(burst(150), PUSHED, POOL).waits
    assert sum(wait < 5 for wait in waits) == 100
    assert sum(wait >= 5 for wait in waits) == 50


def test_patience_costs_replica_seconds() -> None:
    tasks = [task for second in range(30) for task in burst(15, float(second))]
    short, long = (simulate(tasks, Setting(patience_seconds=patience), POOL) for patience in (60.0, 300.0))
    assert short.replica_seconds < long.replica_seconds


@pytest.mark.parametrize("more", [Setting(reserve=3.0), Setting(tasks_per_replica=3)])
def test_free_slots_take_the_next_tasks_at_once(more: Setting) -> None:
    tasks = poisson(4, 600)
    full, reserve = simulate(tasks, PUSHED, POOL), simulate(tasks, more, POOL)
    assert sum(reserve.waits) < sum(full.waits)
    assert reserve.replica_seconds > full.replica_seconds


def test_a_base_is_there_for_the_second_burst() -> None:
    tasks = [task for minute in range(10) for task in burst(40, minute * 60.0, 20.0)]
    hasty = Setting(patience_seconds=15.0)
    without, with_base = (simulate(tasks, setting, POOL) for setting in (hasty, replace(hasty, base=Base(0.8, 300))))
    assert with_base.wait(50) < without.wait(50)
    assert with_base.replica_seconds > without.replica_seconds


def test_tasks_that_may_wait_need_fewer_replicas() -> None:
    tasks = [task for minute in range(10) for task in burst(60, minute * 60.0, 4.0)]
    patient = Setting(patience_seconds=15.0, target_wait_seconds=80.0)
    at_once, later = simulate(tasks, replace(patient, target_wait_seconds=None), POOL), simulate(tasks, patient, POOL)
    assert later.replica_seconds < at_once.replica_seconds
    assert at_once.wait(95) < later.wait(95) <= 80.0


def test_pods_that_are_taken_away_finish_their_tasks() -> None:
    tasks = [*burst(100, seconds=20.0), *burst(1, seconds=400.0)]
    found = simulate(tasks, Setting(patience_seconds=15.0), POOL)
    assert len(found.waits) == len(tasks)
    assert found.terminating_seconds >= 0
    # The last of the burst is worked on by the pool's first or last Pod; either way somebody pays for its 400 s.
    assert found.pod_seconds > 400.0


@given(
    tasks=st.lists(st.tuples(st.floats(0, 300), st.floats(0.1, 60)), min_size=1, max_size=60),
    reserve=st.floats(0, 4),
    patience=st.sampled_from([15.0, 60.0, 300.0]),
    start=st.floats(0.5, 60),
    most=st.integers(1, 20),
)
def test_every_task_is_done_and_nothing_is_cheaper_than_the_work(
    tasks: list[tuple[float, float]], reserve: float, patience: float, start: float, most: int
) -> None:
    played = sorted(Task(at, seconds) for at, seconds in tasks)
    pool = Pool(slots=3, start_seconds=start, max_replicas=most)
    found = simulate(played, Setting(reserve=reserve, patience_seconds=patience), pool)
    assert len(found.waits) == len(played)
    assert min(found.waits) >= 0
    assert found.waits[-1] >= start - 1e-6, "the first task has to wait for a Pod"
    assert found.pod_seconds >= sum(task.seconds for task in played) / pool.slots - 1.0


def test_percentiles_are_those_of_the_nearest_rank() -> None:
    found = Outcome([float(number) for number in range(1, 101)], 0.0, 0.0)
    assert (found.wait(50), found.wait(95), found.wait(100)) == (50.0, 95.0, 100.0)
