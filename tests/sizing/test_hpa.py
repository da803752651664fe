"""The HPA's arithmetic, by worked examples."""

from __future__ import annotations

import pytest

from ark_sizing.hpa import UNTHROTTLED_UP, Behavior, History, Policy, Rules, decide, wanted

FREE = Behavior(scale_up=UNTHROTTLED_UP, scale_down=Rules(0, (Policy("Percent", 100),)))


@pytest.mark.parametrize(
    ("metric", "replicas", "expected"),
    [
        (48, 1, 10),  # ceil(48 / 5)
        (50, 10, 10),
        (54, 10, 10),  # 8 % above: within tolerance
        (56, 10, 12),  # 12 % above
        (46, 10, 10),
        (44, 10, 9),
        (0, 10, 0),
        (1, 0, 1),
    ],
)
def test_what_the_metric_asks_for_at_five_tasks_each(metric: float, replicas: int, expected: int) -> None:
    assert wanted(metric, 5, replicas) == expected


def test_bounds() -> None:
    assert decide(500, 3, 1, 20, FREE, History(), 0) == 20
    assert decide(0, 3, 1, 20, FREE, History(), 0) == 1


def test_by_default_a_pool_grows_by_four_or_doubles_in_fifteen_seconds() -> None:
    history, replicas, seen = History(), 1, []
    for sync in range(6):
        replicas = decide(100, replicas, 1, 100, Behavior(), history, sync * 15.0)
        seen.append(replicas)
    assert seen == [5, 10, 20, 40, 80, 100]


def test_a_policys_period_counts_what_was_added_within_it() -> None:
    rules = Behavior(scale_up=Rules(0, (Policy("Pods", 4, 60),)), scale_down=Rules(0, (Policy("Pods", 1, 60),)))
    history = History()
    assert decide(100, 1, 1, 100, rules, history, 0.0) == 5
    assert decide(100, 5, 1, 100, rules, history, 15.0) == 5
    assert decide(100, 5, 1, 100, rules, history, 61.0) == 9


def test_a_pool_shrinks_only_to_the_highest_number_of_the_stabilization_window() -> None:
    rules = Behavior(scale_up=UNTHROTTLED_UP, scale_down=Rules(60, (Policy("Percent", 100),)))
    history = History()
    assert decide(10, 10, 1, 100, rules, history, 0.0) == 10
    assert decide(2, 10, 1, 100, rules, history, 15.0) == 10
    assert decide(4, 10, 1, 100, rules, history, 45.0) == 10
    assert decide(2, 10, 1, 100, rules, history, 61.0) == 4
    assert decide(2, 4, 1, 100, rules, history, 120.0) == 2


def test_policies_of_the_way_down() -> None:
    half = Rules(0, (Policy("Percent", 50), Policy("Pods", 1)))
    assert decide(1, 10, 1, 100, Behavior(UNTHROTTLED_UP, half), History(), 0) == 5
    slow = Rules(0, half.policies, select="Min")
    assert decide(1, 10, 1, 100, Behavior(UNTHROTTLED_UP, slow), History(), 0) == 9
    never = Rules(0, half.policies, select="Disabled")
    assert decide(1, 10, 1, 100, Behavior(UNTHROTTLED_UP, never), History(), 0) == 10
