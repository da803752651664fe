"""What the operator's metrics say of a pool's queue, which the scaler is not asked for while KEDA does not scale it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ark_taskqueue import Client, QueueKeys, connect
from hack.local.redis_server import RedisServer
from tests.cluster.operator.operating import World, agent, operating, queue_of
from tests.cluster.operator.scrape import samples
from tests.eventually import eventually


@pytest.fixture
async def client(redis_server: RedisServer) -> AsyncIterator[Client]:
    client = connect(redis_server.url)
    yield client
    await client.aclose()


async def test_waiting_tasks_and_dead_letters_of_a_static_pool_are_shown_under_its_queues_name(
    here: World, redis_server: RedisServer, client: Client
) -> None:
    queue = queue_of(here)
    own = QueueKeys.for_stream(f"shared-{here.namespace}")
    for _ in range(3):
        await client.xadd(queue.dead, {"prompt": "p"})
    for each in (queue, own):
        await client.xadd(each.stream, {"prompt": "p"})
    async with operating(here, redis=redis_server.url, status_seconds=0.3, allow_streams="*=shared-*") as (_, port):
        await here.make(agent(replicas=0))
        await here.make(agent("reader", replicas=0, queue={"stream": own.stream}))

        async def counted() -> bool:
            return await samples(port, "ark_pool_dead_letters", agent="writer", queue=queue.name) == 3

        await eventually(counted, "three dead letters", every=0.1)

        async def waiting() -> bool:
            return await samples(port, "ark_pool_tasks", agent="writer", state="waiting") == 1

        await eventually(waiting, "the task that waits", every=0.1)

        async def aged() -> bool:
            ages = [
                await samples(port, "ark_pool_oldest_waiting_seconds", agent=name, queue=each.name)
                for name, each in (("writer", queue), ("reader", own))
            ]
            return min(ages) > 0

        await eventually(aged, "the age of the tasks that wait", every=0.1)
        await client.delete(queue.dead)
        await client.set(queue.dead, "not a stream")

        async def told() -> bool:
            return await samples(port, "ark_operator_queue_read_errors_total") > 0

        await eventually(told, "an error for the count that fails", every=0.1)
        assert await samples(port, "ark_pool_dead_letters", agent="writer") == 3
