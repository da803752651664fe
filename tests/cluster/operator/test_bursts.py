"""Bursts on a real API server and a real Redis; the test is KEDA and the HPA."""

from __future__ import annotations

import pytest

from ark_taskqueue import Client, Producer
from hack.local.redis_server import RedisServer
from tests.cluster.operator.operating import World, agent, operating, queue_of
from tests.cluster.operator.scrape import more, samples
from tests.eventually import eventually


async def woken(here: World, client: Client, tasks: int) -> None:
    """Add tasks to the queue of an idle agent, and do as KEDA does."""
    producer = Producer(client, queue_of(here))
    for _ in range(tasks):
        await producer.submit("x")
    await here.scale_deployment(1)


async def test_a_woken_pool_is_raised_to_what_its_queue_asks_for(
    here: World, redis_server: RedisServer, client: Client
) -> None:
    async with operating(here, redis=redis_server.url) as (_, port):
        await here.make(agent(autoscaling={"tasksPerReplica": 5}))
        await here.mirror(0)
        await here.keda_says()
        await here.has("Autoscaling", "FollowsQueue")
        await woken(here, client, 33)
        await here.replicas(7)
        await here.mirror(7)
        assert await samples(port, "ark_operator_bursts_total") == 1

        async def told() -> bool:
            return bool(await here.events("ScaledBurst"))

        await eventually(told, "the event")
        message = "Raised writer-agent from 1 to 7 replicas at once: 33 tasks wait, 0 are in flight."
        assert await here.events("ScaledBurst") == [message]
        await here.scale_deployment(3)  # the HPA takes it in, and the queue asks for more at the next look
        await here.replicas(7)
        await here.scale_deployment(9)
        await here.mirror(9)
        await more(port, "ark_operator_queue_pipelines_total")
        assert (await here.deployment())["spec"]["replicas"] == 9, "lowering is the HPA's"


@pytest.mark.parametrize("scaling", [{"burst": False}, {"behavior": {"scaleUp": {"stabilizationWindowSeconds": 5}}}])
async def test_there_is_no_burst_where_the_user_does_not_want_one(
    here: World, redis_server: RedisServer, client: Client, scaling: dict[str, object]
) -> None:
    async with operating(here, redis=redis_server.url) as (_, port):
        await here.make(agent(autoscaling=scaling))
        await here.mirror(0)
        await here.keda_says()
        await here.has("Autoscaling", "FollowsQueue")
        await woken(here, client, 33)

        async def shown() -> bool:
            return bool((await here.agent()).get("status", {}).get("queue") == {"waiting": 33, "inFlight": 0})

        await eventually(shown, "the queue in the status, so it was looked at", every=0.05)
        await more(port, "ark_operator_queue_pipelines_total")
        assert (await here.deployment())["spec"]["replicas"] == 1
