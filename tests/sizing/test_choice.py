"""Which sizing a record asks for."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from ark_sizing import choice
from ark_sizing.choice import LEAST_SECONDS, LEAST_TASKS, relative_cost, size
from ark_sizing.record import Span, service_seconds, spans_of, tasks_of
from ark_sizing.setting import Base, Setting
from ark_sizing.simulation import Outcome, Pool, Task, averaged

POOL = Pool(slots=5, start_seconds=10.0, max_replicas=20)
SAFE = Setting(tasks_per_replica=3, patience_seconds=60.0)


def bursts(every_seconds: float = 60.0, tasks: int = 30, seconds: float = 1500.0, seed: int = 5) -> list[Span]:
    chance = random.Random(seed)
    made, at = [], 0.0
    while (at := at + chance.expovariate(1 / every_seconds)) < seconds:
        made += [Task(at + chance.random(), 2.0 + chance.expovariate(1 / 3.0)) for _ in range(tasks)]
    return spans_of(made)


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ([], "0 tasks in 0 min"),
        ([Span(0, LEAST_TASKS - 1, 50.0), Span(2 * LEAST_SECONDS, 0, 1.0)], "499 tasks in 40 min"),
        ([Span(0, 2 * LEAST_TASKS, 50.0), Span(LEAST_SECONDS / 2, 0, 1.0)], "1000 tasks in 10 min"),
    ],
)
def test_a_short_record_leaves_the_safe_setting(record: list[Span], says: str) -> None:
    found = size(record, POOL, SAFE)
    assert (found.setting, found.expected) == (SAFE, None)
    assert says in found.why


def test_it_is_better_than_the_safe_setting_for_what_the_record_has() -> None:
    record = bursts()
    found = size(record, POOL, SAFE)
    assert found.expected is not None
    tasks, service = tasks_of(record), service_seconds(record)
    known = averaged(tasks, SAFE, POOL)
    assert relative_cost(found.expected, len(tasks), service, POOL) < relative_cost(known, len(tasks), service, POOL)


def test_the_search_finds_about_what_a_look_at_everything_does() -> None:
    record = bursts()
    tasks, service = tasks_of(record), service_seconds(record)
    found = size(record, POOL, SAFE)
    assert found.expected is not None

    def cost(outcome: Outcome) -> float:
        return relative_cost(outcome, len(tasks), service, POOL)

    every = itertools.product(choice._RESERVES, choice._PATIENCE_SECONDS, choice._BASES)
    best = min(cost(averaged(tasks, Setting(*each), POOL)) for each in every)
    assert cost(found.expected) <= 1.03 * best


@pytest.mark.parametrize("target", [15.0, 30.0, 60.0])
def test_a_wanted_wait_is_kept_and_the_longer_it_is_the_less_is_paid(target: float) -> None:
    record = bursts()
    found, longer = (size(record, POOL, SAFE, seconds).expected for seconds in (target, 2 * target))
    assert found is not None
    assert longer is not None
    assert found.wait(95) <= target
    assert longer.replica_seconds <= found.replica_seconds


def test_a_wait_shorter_than_a_start_is_as_short_as_can_be() -> None:
    found = size(bursts(every_seconds=400.0, tasks=100, seconds=4000.0), POOL, SAFE, 0.001)
    assert found.why == "the shortest wait; none keeps p95 within 0.001 s"


def test_a_sizing_stays_until_another_is_clearly_better() -> None:
    record = bursts()
    best = size(record, POOL, SAFE).setting
    near = replace(best, patience_seconds=best.patience_seconds + 1.0)
    assert size(record, POOL, SAFE, present=near).setting == near
    poor = Setting(reserve=0.0, patience_seconds=300.0, base=Base(0.95, 900))
    assert size(record, POOL, SAFE, present=poor).setting == best


def test_a_present_sizing_that_misses_the_wanted_wait_goes() -> None:
    record = bursts()
    cheap = Setting(patience_seconds=15.0, target_wait_seconds=4000.0)
    found = size(record, POOL, SAFE, 15.0, present=cheap)
    assert found.setting != cheap


def test_a_present_sizing_that_misses_the_wanted_wait_by_less_stays_though_it_costs_more() -> None:
    record = bursts(every_seconds=400.0, tasks=100, seconds=4000.0)
    lavish = Setting(reserve=20.0, patience_seconds=3000.0, base=Base(1.0, 600))
    assert size(record, POOL, SAFE, 0.001, present=lavish).setting == lavish


def test_the_cost_has_no_unit_of_time_and_no_size_of_the_pool() -> None:
    one = relative_cost(Outcome([1.0, 3.0], 40.0, 0.0), 2, 5.0, POOL)
    slower = relative_cost(Outcome([10.0, 30.0], 400.0, 0.0), 2, 50.0, replace(POOL, start_seconds=100.0))
    larger = relative_cost(Outcome([1.0, 1.0, 3.0, 3.0], 80.0, 0.0), 4, 5.0, POOL)
    assert one == pytest.approx(slower) == pytest.approx(larger)


def test_one_cold_task_in_twenty_counts_as_much_as_the_work() -> None:
    work = 20 * 5.0
    warm = Outcome([0.0] * 20, work / POOL.slots, 0.0)
    cold = Outcome([0.0] * 19 + [POOL.start_seconds + 5.0], work / POOL.slots, 0.0)
    assert relative_cost(warm, 20, 5.0, POOL) == 1.0
    assert relative_cost(cold, 20, 5.0, POOL) == pytest.approx(2.0)
