"""The simulated pool that settings are compared with."""

from __future__ import annotations

from hack.bench.trace.simulation import TUNED, Setting, simulate
from hack.demo.trace import Arrival


def burst(tasks: int, at: float = 1.0) -> list[Arrival]:
    return [Arrival(at, 100, 10)] * tasks  # three seconds each


def test_a_task_wakes_the_pool_and_waits_for_a_pods_start() -> None:
    found = simulate(burst(1), Setting())
    assert found.waits == [2.0]
    assert 300 <= found.replica_seconds <= 345, "until the cooldown is over, at a poll"


def test_polling_finds_a_burst_later_than_a_push() -> None:
    assert simulate(burst(50), TUNED).wait(95) > simulate(burst(50), Setting()).wait(95)


def test_what_is_more_than_the_pool_may_have_waits() -> None:
    waits = simulate(burst(150), Setting(max_replicas=20)).waits
    assert sum(wait < 5 for wait in waits) == 100
    assert sum(wait >= 5 for wait in waits) == 50


def test_patience_costs_replica_seconds() -> None:
    arrivals = [arrival for second in range(30) for arrival in burst(15, float(second))]
    short, long = (simulate(arrivals, Setting(patience=patience)).replica_seconds for patience in (60.0, 300.0))
    assert short < long


def test_a_reserve_of_slots_takes_the_next_tasks_at_once() -> None:
    arrivals = [*burst(25), *(Arrival(4.0 + number / 10, 100, 10) for number in range(10))]
    full, reserve = (simulate(arrivals, Setting(tasks_per_replica=tasks)) for tasks in (5, 3))
    assert sum(reserve.waits) < sum(full.waits)
