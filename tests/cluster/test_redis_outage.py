"""Redis goes away under a running pool, and before the scaler starts: nothing scales down, and it recovers alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from hack.cluster import manifests
from hack.cluster.access import Access
from hack.cluster.manifests import Scaling
from tests.cluster.stack import Stack, deployed, make_pool, recorded
from tests.eventually import eventually

# A zero by mistake would be acted on at once: polls often, and hardly a cooldown. Not every five seconds: when a poll
# and the HPA's look at every 15 s rebuild KEDA's scalers at the same moment, KEDA itself takes the scaler's error for
# "not active" (seen; docs/concepts/architecture.md).
EAGER = Scaling(max_replicas=4, polling_seconds=7, cooldown_seconds=5, scale_down_seconds=0)
OUTAGE_SECONDS = 60.0
HOLD_SECONDS = 20.0
"""Less than the outage: both what is held, and the error after it, are under test."""


@pytest.fixture
async def short_hold(access: Access) -> AsyncIterator[Stack]:
    """A stack whose scaler holds values for 20 s."""
    async with deployed(access, settings={"hold-seconds": str(HOLD_SECONDS)}) as stack:
        yield stack


async def test_replicas_do_not_fall_while_redis_is_away_for_a_minute(short_hold: Stack) -> None:
    stack = short_hold
    pool = await make_pool(stack, "writer", EAGER)
    await pool.accepted()
    tasks = await pool.submit([20.0] * 40)
    await pool.reaches(4)
    async with recorded(pool) as recorder:
        await stack.cut_off_redis()
        await asyncio.sleep(HOLD_SECONDS / 2)
        assert (await pool.condition("Ready"))["status"] == "True", "the scaler answers what it knew"

        async def has_nothing_to_answer() -> bool:
            condition = await pool.condition("Ready")
            return (condition["status"], condition["reason"]) == ("False", "TriggerError")

        await asyncio.sleep(OUTAGE_SECONDS - HOLD_SECONDS / 2)
        await eventually(has_nothing_to_answer, "the scaler's error in the ScaledObject", 60.0, every=0.2)
        assert recorder.values == [4]
        await stack.bring_back_redis()
        results = await pool.results(tasks)
        await pool.reaches(0)
    assert {result.status for result in results} == {"completed"}


async def test_a_scaler_that_starts_without_redis_scales_nothing_to_zero_and_recovers_alone(stack: Stack) -> None:
    pool = await make_pool(stack, "writer", EAGER)
    await pool.accepted()
    await pool.submit([5.0])
    await pool.reaches(1)
    async with recorded(pool) as recorder:
        await stack.cut_off_redis()
        await stack.kill_scaler()

        async def up_but_not_ready() -> bool:
            pods = await stack.pods(manifests.SCALER)
            if len(pods) != 1:
                return False
            [status] = pods[0]["status"].get("containerStatuses", [{}])
            return "running" in status.get("state", {}) and not status["ready"]

        await eventually(up_but_not_ready, "the scaler's start without Redis", 60.0, every=0.2)
        await asyncio.sleep(30.0)  # four polls, and six times the cooldown
        assert await up_but_not_ready()
        assert recorder.values == [1]
        await stack.bring_back_redis()
        await stack.ready(manifests.SCALER)
        tasks = await pool.submit([45.0] * 12)
        await pool.reaches(3)
        assert {result.status for result in await pool.results(tasks)} == {"completed"}
        await pool.reaches(0)
