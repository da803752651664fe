"""A base: slots that stay warm by what the queue's record has of the last minutes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from ark_scaler.errors import NothingKnown
from ark_scaler.metrics import ScalerMetrics
from ark_scaler.readers.held import HeldReader
from ark_scaler.readers.redis import demand_reader
from ark_taskqueue import Budget, Client, DemandSpan, QueueKeys, TokenLedger, connect
from hack.local.proxy import Proxy
from hack.local.redis_server import RedisServer
from tests.scaler.keda import Keda, add_task, failure, scaler_and_keda
from tests.taskqueue.tasks.test_demand import record

BASE = {"baseQuantile": "0.9", "baseSeconds": "120"}
FOUR_SLOTS = 400
"""Tenths of a second in a span."""


@pytest.fixture
async def keda(redis_server: RedisServer) -> AsyncIterator[Keda]:
    async with scaler_and_keda(redis=redis_server.url) as (_, keda):
        yield keda


async def test_a_pool_without_tasks_stays_as_large_as_its_base(keda: Keda, client: Client, queue: QueueKeys) -> None:
    await record(client, queue, range(-5, 1), FOUR_SLOTS)
    warm, plain = keda.reference(**BASE), keda.reference()
    assert (await keda.is_active(warm), await keda.metric(warm)) == (True, 4)
    assert (await keda.is_active(plain), await keda.metric(plain)) == (False, 0)
    assert await keda.metric(keda.reference(**BASE, reserve="2")) == 4 + 2 * 2
    for _ in range(6):
        await add_task(client)
    assert await keda.metric(warm) == 6, "more than the base"


async def test_a_base_is_gone_when_the_record_has_no_tasks_of_late(
    keda: Keda, client: Client, queue: QueueKeys
) -> None:
    await record(client, queue, range(-30, -10), FOUR_SLOTS)
    warm = keda.reference(**BASE)
    assert (await keda.is_active(warm), await keda.metric(warm)) == (False, 0)


async def test_nothing_stays_warm_while_the_budget_is_exceeded(keda: Keda, client: Client, queue: QueueKeys) -> None:
    await record(client, queue, range(-5, 1), FOUR_SLOTS)
    ledger, budget = TokenLedger(client, queue), Budget(10_000, 1000)
    await ledger.settle(await ledger.reserve(budget, 60, tokens=0), 9500, 0)
    warm = keda.reference(**BASE, maxDailyTokens="10000", maxTokensPerCall="1000")
    assert (await keda.is_active(warm), await keda.metric(warm)) == (False, 0)


async def test_a_record_that_cannot_be_read_is_no_empty_one(keda: Keda, client: Client, queue: QueueKeys) -> None:
    await client.set(queue.demand, "no list")
    code, message = await failure(keda.metric(keda.reference(**BASE)))
    assert code == "FAILED_PRECONDITION"
    assert "demand" in message
    assert await keda.metric(keda.reference()) == 0


async def test_while_redis_fails_what_was_read_is_held_and_then_unknown(
    redis_server: RedisServer, client: Client, queue: QueueKeys
) -> None:
    await record(client, queue, range(-5, 1), FOUR_SLOTS)
    now = 1000.0
    async with Proxy(redis_server.port) as proxy, asyncio.TaskGroup() as group:
        through = connect(f"redis://127.0.0.1:{proxy.port}/0", timeout=0.2)
        reader = demand_reader("default", through, 0.3, ScalerMetrics())
        held = HeldReader("default", reader, 10.0, 60.0, lambda: now)
        reading = group.create_task(held.run())

        async def read(seconds: float) -> Sequence[DemandSpan]:
            return (await held.read((queue, 120), "the recent demand", seconds))[1]

        known = await read(5.0)
        assert [span.busy_seconds for span in known] == [40.0] * 12
        proxy.hang()
        for later in (1009.0, 1011.0, 1060.0):
            now = later
            assert await read(0.3) == known
        now = 1061.0
        with pytest.raises(NothingKnown, match="recent demand"):
            await read(0.3)
        reading.cancel()
        await through.aclose()
