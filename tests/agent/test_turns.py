"""Lower priorities have their share of the slots, and no more."""

from __future__ import annotations

import heapq
import random

import pytest

from ark_agent.turns import Turns
from ark_taskqueue import PRIORITIES, Priority

BOTH: tuple[Priority, ...] = ("high", "low")


def shares(
    slots: int, share: float, seconds: dict[Priority, float], *, total: float = 20_000.0, workers: int = 1
) -> dict[Priority, float]:
    """Return each priority's part of the slots' time, where tasks of each of them wait all the time."""
    chance = random.Random(7)
    spent: dict[Priority, float] = dict.fromkeys(seconds, 0.0)
    used = [priority for priority in PRIORITIES if priority in seconds]
    for _ in range(workers):
        turns = Turns(share, slots, chance.random)
        running: list[tuple[float, Priority, bool]] = []
        now = 0.0
        while now < total:
            while len(running) < slots:
                order = turns.order(now, used, sum(in_turn for _, _, in_turn in running))
                priority = next(priority for priority in order or used if priority in seconds)
                in_turn = order is not None and priority != used[0]
                if in_turn:
                    turns.taken(now)
                spent[priority] += seconds[priority]
                heapq.heappush(running, (now + seconds[priority] * chance.uniform(0.8, 1.2), priority, in_turn))
            now = heapq.heappop(running)[0]
    return {priority: found / sum(spent.values()) for priority, found in spent.items()}


@pytest.mark.parametrize("slots", [1, 5, 10, 15, 40])
@pytest.mark.parametrize("low", [0.5, 2.0, 60.0])
def test_lower_tasks_have_their_share_of_the_slots_time_however_long_they_take(slots: int, low: float) -> None:
    assert 0.07 <= shares(slots, 0.1, {"high": 2.0, "low": low})["low"] <= 0.12


def test_two_lower_priorities_share_and_neither_starves() -> None:
    found = shares(10, 0.1, {"high": 2.0, "normal": 2.0, "low": 2.0})
    assert 0.03 <= found["normal"] <= 0.07
    assert 0.03 <= found["low"] <= 0.07


def test_workers_of_one_task_each_take_lower_ones_by_chance() -> None:
    found = shares(1, 0.1, {"high": 2.0, "low": 2.0}, total=0.1, workers=4000)
    assert 0.08 <= found["low"] <= 0.12


def test_without_a_share_or_without_lower_tasks_it_is_nobodys_turn() -> None:
    assert Turns(0.0, 10, lambda: 0.0).order(1.0, BOTH, 0) is None
    turns = Turns(0.1, 10, lambda: 0.0)
    assert turns.order(1.0, [], 0) is None
    assert turns.order(1.0, ["normal"], 0) is None
    assert turns.order(1.0, BOTH, 0) == ["low", "high", "normal"], "one that seems to be empty may not be so any more"


def test_a_turn_that_finds_nothing_is_followed_by_a_pause() -> None:
    turns = Turns(0.1, 10, lambda: 0.0)
    assert turns.order(1.0, BOTH, 0) is not None
    assert turns.order(1.1, BOTH, 0) is None, "a turn takes one task, and all lower ones may be in flight"
    assert turns.order(2.1, BOTH, 0) is not None
    turns.taken(2.1)
    assert turns.order(2.2, BOTH, 0) is not None, "it found one"


def test_nothing_is_saved_up_while_no_lower_task_waits() -> None:
    turns = Turns(0.1, 1, lambda: 0.0)
    assert turns.order(0.0, BOTH, 0) is not None
    turns.taken(0.0)
    assert turns.order(2.0, BOTH, 1) is None, "one slot holds it"
    assert turns.order(10.0, BOTH, 0) is None, "2 s of it cost 18 s of the others"
    assert turns.order(5_000.0, ["high"], 0) is None
    assert turns.order(5_001.0, BOTH, 0) is not None
    turns.taken(5_001.0)
    assert turns.order(5_003.0, BOTH, 1) is None
    assert turns.order(5_010.0, BOTH, 0) is None, "the quiet time gave no second turn"
    assert turns.order(9_000.0, BOTH, 0) is not None, "but nothing was there to be taken"
    assert turns.order(9_001.0, BOTH, 0) is not None
    turns.taken(9_001.0)
    assert turns.order(9_003.0, BOTH, 1) is None
    assert turns.order(9_010.0, BOTH, 0) is None, "nor did a turn that was not used"
