"""When an open stream says true."""

from __future__ import annotations

import asyncio

import pytest

from ark_scaler.push import Subscription, should_push
from ark_taskqueue import Depth, QueueKeys

QUEUE = QueueKeys.for_queue("a/b")


@pytest.mark.parametrize(
    ("active", "was_active", "in_flight", "since_push", "push"),
    [
        (False, False, 0, 99, False),
        (False, True, 0, 99, False),
        (True, False, 0, 99, True),  # the change
        (True, False, 2, 0.0, True),
        (True, True, 0, 1.0, False),  # KEDA gets its time to act
        (True, True, 0, 5.0, True),  # nobody took a task: KEDA missed it
        (True, True, 1, 99, False),  # the pool runs: each true would cost KEDA a write
    ],
)
def test_decision(active: bool, was_active: bool, in_flight: int, since_push: float, push: bool) -> None:
    assert should_push(active, was_active, in_flight, since_push) is push


def depth(waiting: int, in_flight: int = 0) -> Depth:
    return Depth(waiting, in_flight, waiting + in_flight, True, 0, None, None)


async def test_the_change_to_active_wakes_the_stream_once() -> None:
    subscription = Subscription(QUEUE, activation_tasks=0)
    waiting = asyncio.ensure_future(subscription.wait())
    subscription.observe(depth(0), now=100.0)
    assert not waiting.done()
    subscription.observe(depth(1), now=101.0)
    assert await waiting is True
    again = asyncio.ensure_future(subscription.wait())
    subscription.observe(depth(2), now=102.0)
    assert not again.done()
    subscription.observe(depth(2), now=106.1)
    assert await again is True


async def test_a_change_while_nobody_waits_is_not_lost() -> None:
    subscription = Subscription(QUEUE, activation_tasks=0)
    subscription.observe(depth(1), now=100.0)
    assert await subscription.wait() is True


async def test_each_stream_has_its_own_activation() -> None:
    subscription = Subscription(QUEUE, activation_tasks=3)
    waiting = asyncio.ensure_future(subscription.wait())
    subscription.observe(depth(3), now=100.0)
    assert not waiting.done()
    subscription.observe(depth(3, 1), now=101.0)
    assert await waiting is True


async def test_closing_ends_the_wait_even_when_a_true_is_due() -> None:
    subscription = Subscription(QUEUE, activation_tasks=0)
    waiting = asyncio.ensure_future(subscription.wait())
    subscription.close()
    assert await waiting is False
    subscription.observe(depth(1), now=100.0)
    assert await subscription.wait() is False


async def test_the_news_of_a_task_wakes_where_any_task_does_and_the_reading_after_it_repeats_nothing() -> None:
    any_task, fourth_task = Subscription(QUEUE, activation_tasks=0), Subscription(QUEUE, activation_tasks=3)
    waiting = [asyncio.ensure_future(subscription.wait()) for subscription in (any_task, fourth_task)]
    for subscription in (any_task, fourth_task):
        subscription.observe(depth(0), now=100.0)
        subscription.observe_task(now=101.0)
    assert [future.done() for future in waiting] == [True, False]
    again = asyncio.ensure_future(any_task.wait())
    any_task.observe(depth(1), now=101.01)
    any_task.observe_task(now=120.0)
    assert not again.done()
    for future in (waiting[1], again):
        future.cancel()
