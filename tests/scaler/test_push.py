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
