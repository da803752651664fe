"""The number that KEDA gets."""

from __future__ import annotations

import pytest

from ark_api.trigger import TriggerMetadata
from ark_scaler.decision import metric
from ark_scaler.decision.trigger import Trigger
from ark_taskqueue import DemandSpan, Depth, QueueKeys


def depth(waiting: int, in_flight: int, mean_service_ms: float | None = None) -> Depth:
    return Depth(waiting, in_flight, waiting + in_flight, True, 0, mean_service_ms, None)


def trigger(activation: int = 0, wait: float | None = None) -> Trigger:
    asked = TriggerMetadata("a/b", activation_tasks=activation, target_wait_seconds=wait)
    return Trigger(QueueKeys.for_queue("a/b"), asked)


@pytest.mark.parametrize(
    ("found", "wait", "slots"),
    [
        (depth(0, 0), None, 0),
        (depth(7, 0), None, 7),
        (depth(0, 3), None, 3),
        (depth(7, 3), None, 10),
        (depth(7, 3, 2000), None, 10),
        (depth(8, 3, 2000), 8.0, 3 + 8 / 4),  # a slot serves four tasks of 2 s within 8 s
        (depth(8, 3, 9000), 8.0, 11),  # a task longer than the target asks for a slot of its own, not more
        (depth(8, 3, None), 8.0, 11),  # no service time known yet
        (depth(0, 0, 2000), 8.0, 0),
    ],
)
def test_demand_in_slots(found: Depth, wait: float | None, slots: float) -> None:
    assert metric.value(found, trigger(wait=wait)) == pytest.approx(slots)


@pytest.mark.parametrize(
    ("found", "wait", "slots"),
    [
        (depth(0, 0), None, 0),  # free slots are no reason to run
        (depth(7, 2), None, 9 + 1.5 * 3),
        (depth(8, 2, 2000), 8.0, 4 + 1.5 * 2),
    ],
)
def test_a_reserve_is_a_multiple_of_the_root_of_the_slots(found: Depth, wait: float | None, slots: float) -> None:
    asked = TriggerMetadata("a/b", target_wait_seconds=wait, reserve=1.5)
    assert metric.value(found, Trigger(QueueKeys.for_queue("a/b"), asked)) == pytest.approx(slots)


def test_a_base_counts_where_it_is_more_than_the_demand() -> None:
    asked = Trigger(QueueKeys.for_queue("a/b"), TriggerMetadata("a/b", reserve=1.0, base_quantile=0.9))
    assert metric.value(depth(9, 0), asked, base=4.0) == 9 + 3
    assert metric.value(depth(1, 0), asked, base=4.0) == 4 + 2
    assert metric.is_active(depth(0, 0), asked, base=0.1)
    assert not metric.is_active(depth(0, 0), asked, base=0.0)


@pytest.mark.parametrize(
    ("quantile", "share", "slots"), [(0.25, 1.0, 0.0), (0.75, 1.0, 7.0), (1.0, 1.0, 8.0), (1.0, 0.5, 6.0)]
)
def test_a_base_is_a_quantile_of_what_each_span_asked_for(quantile: float, share: float, slots: float) -> None:
    spans = [
        DemandSpan(0, 9, 30.0, 0.0),
        DemandSpan(10, 9, 0.0, 0.0),
        DemandSpan(20, 9, 40.0, 40.0),
        DemandSpan(30, 9, 30.0, 40.0),
    ]
    assert metric.base_slots(spans, share, quantile) == slots


@pytest.mark.parametrize(
    ("found", "activation", "active"),
    [
        (depth(0, 0), 0, False),
        (depth(1, 0), 0, True),
        (depth(0, 1), 0, True),  # a pool is not scaled to zero under its last task
        (depth(2, 1), 3, False),
        (depth(2, 2), 3, True),
    ],
)
def test_a_pool_runs_while_more_tasks_wait_or_run_than_the_activation(
    found: Depth, activation: int, active: bool
) -> None:
    assert metric.is_active(found, trigger(activation)) is active
