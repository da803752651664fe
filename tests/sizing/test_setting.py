"""What a setting asks for."""

from __future__ import annotations

import pytest

from ark_sizing.setting import Base, RecentDemand, Setting, quantile_of
from ark_taskqueue.tasks.depth import Depth


@pytest.mark.parametrize(
    ("demand", "base", "slots"),
    [(0, 0, 0), (16, 0, 16 + 2 * 4), (16, 9, 16 + 2 * 4), (9, 16, 16 + 2 * 4), (0, 4, 4 + 2 * 2)],
)
def test_the_reserve_is_a_multiple_of_the_root_of_what_is_asked_for(demand: float, base: float, slots: float) -> None:
    assert Setting(reserve=2.0).slots_wanted(demand, base) == slots


@pytest.mark.parametrize("target", [None, 1.0, 30.0])
def test_waiting_tasks_ask_for_what_the_scaler_says(target: float | None) -> None:
    depth = Depth(40, 5, 45, exact=True, oldest_waiting_ms=0, mean_service_ms=6000.0, watch_after=None)
    assert Setting(target_wait_seconds=target).slots_of(5, 40, 6.0) == depth.slots(target)


def test_a_base_is_a_quantile_of_the_spans_of_its_window() -> None:
    recent = RecentDemand(Base(0.8, 50))
    for demand in (10.0, 20.0, 30.0):
        for _ in range(10):
            recent.second(demand)
    assert recent.slots == 20.0, "two of five spans were before the first one, and empty"
    for _ in range(50):
        recent.second(0.0)
    assert recent.slots == 0.0, "what is older than the window is forgotten"


@pytest.mark.parametrize(("quantile", "value"), [(0.0, 1.0), (0.2, 1.0), (0.5, 3.0), (0.95, 5.0), (1.0, 5.0)])
def test_a_quantile_is_one_of_the_values(quantile: float, value: float) -> None:
    assert quantile_of([5.0, 1.0, 4.0, 2.0, 3.0], quantile) == value
