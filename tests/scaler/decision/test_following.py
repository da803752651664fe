"""When a queue with open streams is read next."""

from __future__ import annotations

import pytest

from ark_scaler.decision.following import REPEAT_SECONDS, Followed, next_reading
from ark_taskqueue import Depth

NOW = 1000.0
IDLE = Depth(0, 0, 0, True, 0, None, ("0-0",) * 3)
WAITING = Depth(3, 0, 3, True, 0, None, None)
RUNNING = Depth(0, 3, 3, True, 0, None, None)
KEEPS_ENTRIES = Depth(0, 0, 9, True, 0, None, ("0-0", "9-0", "0-0"))


def pause(before: Followed, depth: Depth, active: list[bool], *, watched: bool = False, chance: float = 0.0) -> float:
    plan = next_reading(before, depth, active, watched=watched, now=NOW, chance=chance)
    assert plan.due_at is not None
    assert plan.readings == before.readings + 1
    return plan.due_at - NOW


@pytest.mark.parametrize(("depth", "active"), [(IDLE, [False]), (WAITING, []), (IDLE, [])])
def test_nothing_is_planned_for_an_idle_queue_or_without_a_stream(depth: Depth, active: list[bool]) -> None:
    assert next_reading(Followed(3, NOW), depth, active, watched=False, now=NOW, chance=0.5) == Followed()


def test_a_queue_that_woke_is_read_often_at_first_and_again_when_a_lost_push_is_due() -> None:
    plan, times = Followed(), [0.0]
    for _ in range(6):
        plan = next_reading(plan, WAITING, [True], watched=False, now=NOW + times[-1], chance=0.0)
        assert plan.due_at is not None
        times.append(plan.due_at - NOW)
    assert times == [0, 0.25, 1, 2.5, REPEAT_SECONDS, 2 * REPEAT_SECONDS, 3 * REPEAT_SECONDS]


def test_a_reading_that_is_planned_stays_planned() -> None:
    before = Followed(1, NOW + 0.1)
    assert next_reading(before, WAITING, [True], watched=False, now=NOW, chance=0.5) == before


def test_a_watched_queue_that_keeps_old_entries_is_looked_at_seldom() -> None:
    assert pause(Followed(), KEEPS_ENTRIES, [False, False], watched=True) == 30
    assert pause(Followed(), KEEPS_ENTRIES, [False, True], watched=True) == 0.25, "a pool that runs is followed"


def test_a_pool_that_runs_is_read_less_often_and_pools_not_together() -> None:
    settled = Followed(5, None)
    assert pause(settled, RUNNING, [True]) == REPEAT_SECONDS
    assert pause(settled, WAITING, [True], chance=0.5) == pytest.approx(REPEAT_SECONDS * 0.975), "early, never late"
    assert pause(settled, RUNNING, [True], chance=0.5) == pytest.approx(1.5 * REPEAT_SECONDS * 0.975)
