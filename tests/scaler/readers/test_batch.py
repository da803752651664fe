"""Reads of one queue at a time are one read, and reads of many queues are one pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeAlias

import pytest

from ark_scaler.metrics import ScalerMetrics
from ark_scaler.readers.batch import BatchReader
from ark_scaler.readers.redis import depth_reader
from ark_taskqueue import Client, Depth, NotAStream, QueueKeys, RedisUnavailable, connect
from hack.local.proxy import Proxy
from hack.local.redis_server import RedisServer

Reader: TypeAlias = BatchReader[QueueKeys, Depth]


@pytest.fixture
async def reader(client: Client) -> AsyncIterator[Reader]:
    reader = depth_reader("default", client, 5.0, ScalerMetrics())
    running = asyncio.create_task(reader.run())
    yield reader
    running.cancel()
    await asyncio.wait([running])


async def reads(client: Client) -> int:
    statistics = await client.info("commandstats")
    return sum(int(stats["calls"]) for name, stats in statistics.items() if "eval" in name)


async def test_callers_at_the_same_time_share_one_read(reader: Reader, client: Client, queue: QueueKeys) -> None:
    await client.execute_command("XADD", queue.stream, "*", "prompt", "x")
    before = await reads(client)
    depths = await asyncio.gather(*(reader.read(queue) for _ in range(300)))
    assert {depth.demand for depth in depths} == {1}
    assert await reads(client) - before <= 2  # the second one loads the script


async def test_a_read_that_is_under_way_is_not_shared(reader: Reader, client: Client, queue: QueueKeys) -> None:
    """Or a caller might not be told of a task that was there before it asked."""
    for round_ in range(1, 300):
        earlier = asyncio.create_task(reader.read(queue))
        await asyncio.sleep(0)
        await client.execute_command("XADD", queue.stream, "*", "prompt", "x")
        assert (await reader.read(queue)).demand == round_
        await earlier


async def test_one_callers_end_is_not_the_others(reader: Reader, queue: QueueKeys) -> None:
    first, second = asyncio.create_task(reader.read(queue)), asyncio.create_task(reader.read(queue))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).demand == 0


async def test_an_unreadable_queue_fails_alone(reader: Reader, client: Client, queue: QueueKeys) -> None:
    broken = QueueKeys.for_agent("default", "broken")
    await client.execute_command("SET", broken.stream, "x")
    good, bad = await reader.read_page([(queue, 0), (broken, 0)])
    assert not isinstance(good, Exception)
    assert isinstance(bad, NotAStream)


async def test_a_redis_that_hangs_costs_every_caller_no_more_than_the_timeout(
    redis_server: RedisServer, queue: QueueKeys
) -> None:
    async with Proxy(redis_server.port) as proxy:
        client = connect(f"redis://127.0.0.1:{proxy.port}", timeout=0.3)
        reader = depth_reader("default", client, 0.3, ScalerMetrics())
        running = asyncio.create_task(reader.run())
        await reader.read(queue)
        proxy.hang()
        for _ in range(3):
            async with asyncio.timeout(20):
                with pytest.raises(RedisUnavailable):
                    await reader.read(queue)
        proxy.resume()
        proxy.drop_connections()
        async with asyncio.timeout(20):
            assert (await reader.read(queue)).demand == 0
        running.cancel()
        await asyncio.wait([running])
        await client.aclose()
