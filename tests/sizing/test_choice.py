"""Which sizing a record asks for."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from ark_sizing import choice
from ark_sizing.choice import LEAST_SECONDS, LEAST_TASKS, Expected, Objective, relative_cost, size
from ark_sizing.record import Sample, Span, sample_of, spans_of
from ark_sizing.setting import TUNED_REDIS_STREAMS, Base, Setting
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


def objective(record: list[Span]) -> tuple[Objective, Sample]:
    sample = sample_of(record, LEAST_TASKS, LEAST_SECONDS)
    rival = averaged(sample.plays, TUNED_REDIS_STREAMS, POOL)
    return Objective(len(sample.plays[0]), sample.service, POOL, rival), sample


def test_it_costs_less_than_the_safe_setting_and_nobody_waits_longer_than_with_redis_streams() -> None:
    record = bursts()
    judge, sample = objective(record)
    found = judge.key(averaged(sample.plays, size(record, POOL, SAFE).setting, POOL))
    assert found[0] == 0.0
    assert found < judge.key(averaged(sample.plays, SAFE, POOL))


def test_what_is_expected_is_what_its_setting_makes_of_the_record() -> None:
    record = bursts()
    _, sample = objective(record)
    found = size(record, POOL, SAFE)
    outcome = averaged(sample.plays, found.setting, POOL, sample.seconds)
    assert found.expected == Expected(outcome.wait(95), outcome.replica_seconds / sample.seconds)


def test_the_search_finds_about_what_a_look_at_everything_does() -> None:
    record = bursts()
    judge, sample = objective(record)
    found = judge.key(averaged(sample.plays, size(record, POOL, SAFE).setting, POOL))
    bases = [None, *(Base(share, 300) for share in choice._QUANTILES if share)]
    every = itertools.product(choice._RESERVES, choice._PATIENCE_SECONDS, bases)
    best = min(judge.key(averaged(sample.plays, Setting(*each), POOL)) for each in every)
    assert found[0] <= best[0]
    assert found[1] <= 1.03 * best[1]


def test_from_a_chosen_sizing_the_search_takes_fewer_replays(monkeypatch: pytest.MonkeyPatch) -> None:
    replays = []

    def counting(plays: Sequence[Sequence[Task]], setting: Setting, pool: Pool, seconds: float = math.inf) -> Outcome:
        replays.append(setting)
        return averaged(plays, setting, pool, seconds)

    monkeypatch.setattr(choice, "averaged", counting)
    record = bursts()
    best = size(record, POOL, SAFE).setting
    first = len(replays)
    assert size(record, POOL, SAFE, present=best).setting == best
    assert len(replays) - first < first / 2


def test_a_short_record_leaves_a_chosen_sizing_until_it_is_half_as_long() -> None:
    best = size(bursts(), POOL, SAFE).setting
    enough = [Span(0, LEAST_TASKS // 2, 50.0), Span(LEAST_SECONDS, 0, 1.0)]
    assert size(enough, POOL, SAFE, present=best).expected is not None
    short = [Span(0, LEAST_TASKS // 2 - 1, 50.0), Span(LEAST_SECONDS, 0, 1.0)]
    assert size(short, POOL, SAFE, present=best).setting == SAFE
    assert size(enough, POOL, SAFE).expected is None


@pytest.mark.parametrize("target", [15.0, 30.0, 60.0])
def test_a_wanted_wait_is_kept_and_the_longer_it_is_the_less_is_paid(target: float) -> None:
    record = bursts()
    found, longer = (size(record, POOL, SAFE, seconds).expected for seconds in (target, 2 * target))
    assert found is not None
    assert longer is not None
    assert found.wait_seconds <= target
    assert longer.replicas <= found.replicas


def test_a_wait_shorter_than_a_start_is_as_short_as_can_be() -> None:
    found = size(bursts(every_seconds=400.0, tasks=100, seconds=4000.0), POOL, SAFE, 0.001)
    assert found.why == "the shortest wait; none keeps p95 within 0.001 s"


def test_a_sizing_stays_until_another_is_clearly_better() -> None:
    record = bursts()
    best = size(record, POOL, SAFE).setting
    near = replace(best, patience_seconds=best.patience_seconds + 1.0)
    assert size(record, POOL, SAFE, present=near).setting == near
    poor = Setting(reserve=6.0, patience_seconds=300.0, base=Base(0.95, 900))
    found = size(record, POOL, SAFE, present=poor).setting
    judge, sample = objective(record)
    cost, before = (judge.key(averaged(sample.plays, one, POOL))[1] for one in (found, poor))
    assert cost < 0.9 * before


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


def test_one_cold_task_in_ten_counts_as_much_as_the_work() -> None:
    work = 10 * 5.0
    warm = Outcome([0.0] * 10, work / POOL.slots, 0.0)
    cold = Outcome([0.0] * 9 + [POOL.start_seconds + 5.0], work / POOL.slots, 0.0)
    assert relative_cost(warm, 10, 5.0, POOL) == 1.0
    assert relative_cost(cold, 10, 5.0, POOL) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("waits", "missed"),
    [
        ([0.0] * 100, 0.0),
        ([0.0] * 94 + [8.0] * 6, 0.0),
        ([0.0] * 94 + [12.0] * 6, 0.5),  # p95
        ([1.2] * 100, 0.5),  # the mean
    ],
)
def test_a_setting_must_keep_the_waits_of_redis_streams(waits: list[float], missed: float) -> None:
    rival = Outcome([0.0] * 90 + [8.0] * 10, 100.0, 0.0)
    judge = Objective(100, 5.0, POOL, rival)
    assert judge.key(Outcome(waits, 100.0, 0.0))[0] == pytest.approx(missed)


def test_where_redis_streams_lets_nobody_wait_short_waits_are_as_good() -> None:
    judge = Objective(100, 5.0, POOL, Outcome([0.0] * 100, 100.0, 0.0))
    assert judge.key(Outcome([0.0] * 90 + [0.4] * 10, 100.0, 0.0))[0] == 0.0
    assert judge.key(Outcome([0.0] * 90 + [0.6] * 10, 100.0, 0.0))[0] > 0.0


def test_what_a_pool_has_after_the_record_is_not_expected_of_it() -> None:
    record = bursts()
    short, long = (
        size(record, replace(POOL, cooldown_seconds=cooldown), SAFE).expected for cooldown in (300.0, 86_400.0)
    )
    assert short is not None
    assert long is not None
    assert long.replicas == pytest.approx(short.replicas, rel=0.2)
