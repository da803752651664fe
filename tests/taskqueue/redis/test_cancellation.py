"""A cancelled operation ends, whenever the cancellation comes.

A worker that was told to stop just when redis-py had sent a command went on for ever: `asyncio.wait_for` before Python
3.12 may swallow a cancellation, redis-py sends with it, and the loop around it caught nothing and turned again.
"""

from __future__ import annotations

import asyncio
import random

from ark_taskqueue import Client, Consumer, QueueKeys, TaskQueueError, connect, read_depth
from hack.local.redis_server import RedisServer

TRIALS = 1500


async def for_ever(client: Client, queue: QueueKeys) -> None:
    """Do what the loops of workers and scaler do: ask Redis, and survive its errors."""
    consumer = Consumer(client, queue, "w")
    while True:
        try:
            await consumer.claim(1)
            await read_depth(client, queue)
        except TaskQueueError:
            continue


async def test_a_cancellation_by_a_signal_while_the_task_runs_is_not_swallowed(
    redis_server: RedisServer, queue: QueueKeys
) -> None:
    """A signal's handler runs inside whatever task runs: asyncio delivers the cancellation at that task's next wait."""
    client = connect(redis_server.url)
    await read_depth(client, queue)  # the connection is open: the next wait is for the sending

    async def interrupted() -> None:
        own = asyncio.current_task()
        assert own is not None
        own.cancel()
        await read_depth(client, queue)

    task = asyncio.create_task(interrupted())
    await asyncio.wait([task], timeout=20)
    assert task.cancelled()
    await client.aclose()


async def test_a_loop_around_redis_can_be_cancelled_at_any_moment(redis_server: RedisServer, queue: QueueKeys) -> None:
    chance = random.Random(3)
    client = connect(redis_server.url, max_connections=64)
    for _ in range(TRIALS):
        loop = asyncio.create_task(for_ever(client, queue))
        for _ in range(chance.randrange(40)):
            await asyncio.sleep(0)
        loop.cancel()
        done, _ = await asyncio.wait([loop], timeout=20)
        assert done, "the cancellation was swallowed"
    await client.aclose()
