"""A pool's life on a real cluster: from zero by push, out, in, and back to zero, with real workers."""

from __future__ import annotations

import asyncio
import time

import pytest

from hack.cluster.api import PODS
from hack.cluster.manifests import Scaling
from tests.cluster.stack import Pool, Stack, make_pool, recorded
from tests.eventually import eventually

SCALING = Scaling(max_replicas=10, polling_seconds=30, cooldown_seconds=20, scale_down_seconds=0)
LONG, SHORT = 100.0, 45.0


async def exit_codes(pool: Pool, found: dict[str, int]) -> None:
    """Note how every worker of a pool ends, until cancelled."""
    selector = f"app={pool.agent}-agent"
    async for event in pool.stack.api.watch(PODS.path(pool.stack.namespace), labelSelector=selector):
        for status in event.object.get("status", {}).get("containerStatuses", []):
            if "terminated" in status["state"]:
                found[event.object["metadata"]["name"]] = status["state"]["terminated"]["exitCode"]


@pytest.mark.containers
async def test_from_zero_by_push_out_exactly_in_without_a_kill_and_back_to_zero(stack: Stack) -> None:
    """37 tasks ask for ceil(37 / 5) = 8 replicas; 12 of them last longer and ask for 3."""
    pool = await make_pool(stack, "writer", SCALING, grace_seconds=120)
    await pool.accepted()
    codes: dict[str, int] = {}
    async with recorded(pool) as recorder, asyncio.TaskGroup() as group:
        watching = group.create_task(exit_codes(pool, codes))
        assert recorder.values == [0]
        # Long ones among the short ones, so that nearly every worker that goes has one to finish.
        tasks = await pool.submit([LONG if number % 3 == 0 else SHORT for number in range(36)] + [SHORT])
        await eventually(lambda: max(recorder.values) >= 1, "the push", 10)  # a poll would come in 15 s on average
        await pool.reaches(8)
        await pool.reaches(3, 120)
        results = await pool.results(tasks)
        await pool.reaches(0, 120)
        await eventually(lambda: recorder.values[-1] == 0, "the recorder's look at zero")
        watching.cancel()
    assert recorder.values[:3] == [0, 1, 8], "from zero to one by push, and from there to what is asked for at once"
    assert max(recorder.values) == 8
    assert {result.status for result in results} == {"completed"}
    assert {result.attempts for result in results} == {1}
    late = [result for result in results if result.waited_ms > SHORT * 1000]
    assert not late, "a task that a worker gave back waits until that worker is stopped"
    # Not of every worker: a kubelet may remove a Pod before a watch has shown how its container ended.
    assert set(codes.values()) == {0}, "a killed worker ends with 137"


async def test_what_was_asked_for_of_late_stays_warm_without_a_task(stack: Stack) -> None:
    """Eleven slots were busy in each span of the last minutes, and a reserve of the root of that comes on top."""
    warm = {"baseQuantile": "0.9", "baseSeconds": "600", "reserve": "1"}
    pool = await make_pool(stack, "writer", Scaling(max_replicas=10, polling_seconds=5), metadata=warm)
    await pool.accepted()
    minute = "{tonumber(ARGV[1]) + number, " + ", ".join(["22", "1100", "0"] * 6) + "}"
    script = f"for number = 0, 20 do redis.call('RPUSH', KEYS[1], cmsgpack.pack({minute})) end"
    await stack.redis.execute_command("EVAL", script, 1, pool.queue.demand, int(time.time() // 60) - 20)
    await pool.reaches(3)
    assert await pool.demand() == 0
