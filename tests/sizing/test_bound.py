"""What nobody can do better than."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ark_sizing.bound import clairvoyant_seconds
from ark_sizing.setting import Base, Setting
from ark_sizing.simulation import Pool, Task, simulate


@pytest.mark.parametrize(
    ("tasks", "slots", "seconds"),
    [
        ([], 1, 0.0),
        ([Task(100.0, 5.0)], 1, 7.0),  # its start and its work
        ([Task(100.0, 5.0), Task(100.0, 5.0)], 1, 14.0),
        ([Task(100.0, 5.0), Task(100.0, 5.0)], 2, 7.0),
        ([Task(100.0, 5.0), Task(106.0, 5.0)], 1, 13.0),  # a gap of a second, shorter than a start
        ([Task(100.0, 5.0), Task(200.0, 5.0)], 1, 14.0),  # a new start is cheaper than the gap
        ([Task(100.0, 5.0), Task(104.0, 5.0)], 1, 14.0),  # 9 and 1 with two starts, since nobody waits
        ([Task(100.0, 5.0), Task(105.0, 5.0)], 1, 12.0),  # one after the other
    ],
)
def test_it_is_what_hindsight_would_pay(tasks: list[Task], slots: int, seconds: float) -> None:
    assert clairvoyant_seconds(tasks, slots, 2.0) == pytest.approx(seconds)


@given(
    tasks=st.lists(st.tuples(st.floats(0, 600), st.floats(0.1, 30)), min_size=1, max_size=40),
    slots=st.integers(1, 6),
    start=st.floats(0.1, 40),
)
def test_a_pool_that_lets_nobody_wait_costs_no_less(tasks: list[tuple[float, float]], slots: int, start: float) -> None:
    played = sorted(Task(at + 2 * start, seconds) for at, seconds in tasks)
    warm = Setting(reserve=100.0, patience_seconds=3000.0, base=Base(1.0, 600))
    early = [Task(0.0, 0.001)]
    found = simulate([*early, *played], warm, Pool(slots=slots, start_seconds=start, max_replicas=1000))
    assume(found.waits[-2] == 0.0)  # all but the one that woke the pool
    assert found.pod_seconds >= clairvoyant_seconds(played, slots, start)
