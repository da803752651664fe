"""A pool that is sized by the record of its queue's demand."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ark_operator.cluster.kinds import ARK_AGENTS, DEPLOYMENTS
from ark_taskqueue import Client, connect
from hack.local.redis_server import RedisServer
from tests.cluster.operator.operating import World, agent, operating, queue_of
from tests.cluster.operator.scrape import samples
from tests.eventually import eventually


@pytest.fixture
async def client(redis_server: RedisServer) -> AsyncIterator[Client]:
    client = connect(redis_server.url)
    yield client
    await client.aclose()


async def record(here: World, client: Client) -> None:
    """Put forty minutes on record, each with two spans of thirty tasks that work for five seconds."""
    minute = "{tonumber(ARGV[1]) + number, 30, 1500, 0, 30, 1500, 0}"
    script = f"for number = 0, 39 do redis.call('RPUSH', KEYS[1], cmsgpack.pack({minute})) end"
    await client.execute_command("EVAL", script, 1, queue_of(here).demand, int(time.time() // 60) - 45)


async def sizing(here: World) -> dict[str, Any]:
    found: dict[str, Any] = (await here.agent()).get("status", {}).get("sizing", {})
    return found


async def says(here: World, text: str) -> None:
    async def there() -> bool:
        return text in (await sizing(here)).get("message", "")

    await eventually(there, f"a sizing that says {text!r}", every=0.1)


async def an_hour_passes(here: World) -> None:
    """Have the present sizing be an hour old: two changes are five minutes apart."""
    path = ARK_AGENTS.path(here.namespace, "writer", "status")
    await here.api.patch(path, {"status": {"sizing": {"since": "2026-01-01T00:00:00Z"}}})


async def trigger(here: World) -> tuple[str, bool, int]:
    """Return the trigger's target, whether it has a reserve or a base, and the patience."""
    spec = (await here.scaled_object())["spec"]
    metadata = spec["triggers"][0]["metadata"]
    down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    chosen = "reserve" in metadata or "baseQuantile" in metadata
    return metadata["tasksPerReplica"], chosen, down["stabilizationWindowSeconds"]


async def has_a_target_of(here: World, tasks: str) -> None:
    async def there() -> bool:
        return (await trigger(here))[0] == tasks

    await eventually(there, f"a target of {tasks}", every=0.1)


async def starts_a_pod(here: World) -> None:
    """Scale the pool to one replica, and say that it is ready a little later."""
    await here.scale_deployment(1)

    async def measured() -> bool:
        counts = {"replicas": 1, "readyReplicas": 1, "updatedReplicas": 1}
        await here.api.patch(DEPLOYMENTS.path(here.namespace, "writer-agent", "status"), {"status": counts})
        return "startSeconds" in await sizing(here)

    await here.mirror(1)
    await eventually(measured, "how long its Pod took to start", every=0.3)


async def test_a_pool_gets_the_sizing_that_its_record_asks_for_and_loses_it_with_the_record(
    here: World, redis_server: RedisServer, client: Client
) -> None:
    async with operating(here, redis=redis_server.url, sizing_seconds=0.6) as (_, port):
        await here.make(agent(autoscaling={"maxReplicas": 20}))
        await here.keda_says()
        await says(here, "No Pod has been seen starting yet")
        assert await trigger(here) == ("3", False, 60)
        await starts_a_pod(here)
        await says(here, "The record has 0 tasks in 0 min, too few to go by.")

        await record(here, client)
        await an_hour_passes(here)
        await has_a_target_of(here, "5")
        found = await sizing(here)
        assert found["mode"] == "Adaptive"
        assert (await trigger(here))[1:] == (found["reserve"] > 0 or "baseQuantile" in found, found["patienceSeconds"])
        assert found["expectedReplicas"] > 0
        [event] = await here.events("SizingChanged")
        assert event.startswith("The pool is now sized with ")
        assert await samples(port, "ark_pool_patience_seconds", agent="writer") == found["patienceSeconds"]
        assert await samples(port, "ark_operator_sizings_total", result="chosen") == 1
        assert await samples(port, "ark_operator_sizing_cpu_seconds_total") > 0

        await client.delete(queue_of(here).demand)

        async def looked_again() -> bool:
            return await samples(port, "ark_operator_sizings_total", result="short") > 3

        await eventually(looked_again, "more looks at the record", every=0.1)
        assert (await trigger(here))[0] == "5", "not within five minutes"
        await an_hour_passes(here)
        await has_a_target_of(here, "3")
        assert "reserve" not in await sizing(here)


async def test_the_next_leader_keeps_what_was_chosen_and_a_persons_word_wins_at_once(
    here: World, redis_server: RedisServer, client: Client
) -> None:
    await record(here, client)
    async with operating(here, redis=redis_server.url, sizing_seconds=0.6):
        await here.make(agent(autoscaling={"maxReplicas": 20}))
        await here.keda_says()
        await starts_a_pod(here)
        await an_hour_passes(here)
        await has_a_target_of(here, "5")
        chosen = await trigger(here)
    async with operating(here, redis=redis_server.url, sizing_seconds=3600):
        await here.keda_says()
        await here.patch(autoscaling={"maxReplicas": 19})

        async def applied() -> bool:
            return bool((await here.scaled_object())["spec"]["maxReplicaCount"] == 19)

        await eventually(applied, "the new maximum", every=0.1)
        assert await trigger(here) == chosen
        await here.patch(autoscaling={"sizing": "Fixed"})
        await has_a_target_of(here, "3")
        await says(here, "spec.autoscaling.sizing is Fixed.")


async def test_a_record_that_cannot_be_read_changes_nothing(
    here: World, redis_server: RedisServer, client: Client
) -> None:
    await record(here, client)
    async with operating(here, redis=redis_server.url, sizing_seconds=0.6) as (_, port):
        await here.make(agent(autoscaling={"maxReplicas": 20}))
        await here.keda_says()
        await starts_a_pod(here)
        await an_hour_passes(here)
        await has_a_target_of(here, "5")
        await client.delete(queue_of(here).demand)
        await client.set(queue_of(here).demand, "no list")
        await an_hour_passes(here)

        async def failed() -> bool:
            return await samples(port, "ark_operator_sizings_total", result="failed") > 3

        await eventually(failed, "looks that fail", every=0.1)
        assert await samples(port, "ark_operator_sizings_total", result="chosen") == 1, "however often it looks"
        assert (await trigger(here))[0] == "5"
