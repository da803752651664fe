"""The daily token budget on a real Kubernetes with the real KEDA: real workers, a real ledger, an LLM that echoes."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from datetime import datetime

import pytest

from ark_operator.cluster.kinds import ARK_AGENTS
from ark_taskqueue import Budget, TokenLedger
from hack.cluster.api import EVENTS, Object
from tests.cluster.stack import Pool, Stack
from tests.cluster.test_operator import make, with_operator
from tests.eventually import eventually
from tests.taskqueue.moving_time import age_ledger

BUDGET = Budget(20_000, 1000)
LIMITS = {"maxDailyTokens": 20_000, "maxTokensPerCall": 1000, "timeoutSeconds": 60, "maxConcurrentTasks": 2}
META = {"latency_seconds": 0.5, "input_tokens": 600, "output_tokens": 400}
DAY = 86_400


@pytest.fixture
async def governed(stack: Stack) -> AsyncIterator[Stack]:
    async with with_operator(stack) as made:
        yield made


async def status_of(pool: Pool) -> Object:
    found: Object = (await pool.stack.api.get(ARK_AGENTS.path(pool.stack.namespace, pool.agent))).get("status", {})
    return found


async def has_mode(pool: Pool, mode: str, seconds: float = 60) -> None:
    async def there() -> bool:
        return bool((await status_of(pool)).get("mode") == mode)

    await eventually(there, f"{pool.agent} is {mode}", seconds, every=0.05)


async def events(pool: Pool, reason: str) -> list[str]:
    listed = await pool.stack.api.get(EVENTS.path(pool.stack.namespace))
    return [item["message"] for item in listed["items"] if item["reason"] == reason]


async def submit(pool: Pool, tasks: int) -> list[str]:
    submitted = [await pool.producer.submit("x", meta=META) for _ in range(tasks)]
    return [submission.task_id for submission in submitted]


async def test_the_cap_stops_the_pool_loses_nothing_and_gives_it_back_by_itself(governed: Stack) -> None:
    pool = await make(governed, autoscaling={"maxReplicas": 4, "cooldownSeconds": 30}, limits=LIMITS)
    await pool.accepted()
    ledger = TokenLedger(governed.redis, pool.queue)
    ids = await submit(pool, 26)

    async def exceeded() -> bool:
        usage = await ledger.usage(BUDGET)
        assert usage.total + usage.reserved <= 20_000
        return usage.exceeded

    await eventually(exceeded, "the cap", 90, every=0.02)
    capped_at = time.monotonic()
    await pool.reaches(0, 60)
    stopped_after = time.monotonic() - capped_at
    await has_mode(pool, "Budget")
    assert (await ledger.usage(BUDGET)).total == 20_000, "every call up to the cap was made, and none beyond it"
    assert await pool.demand() == 6, "no task was lost, and none blamed"

    described = await governed.kubectl("describe", "arkagent", pool.agent)
    restored_at = (await ledger.usage(BUDGET)).restored_at
    assert restored_at is not None
    assert "20000 of 20000 tokens were used in 24 hours" in described
    assert f"comes back by itself at {restored_at:%Y-%m-%dT%H:%M:%SZ}" in described
    assert re.search(r"Total Tokens:\s+20000", described)
    assert re.search(r"Warning\s+DailyLimitReached", described)

    # The window moves on, but for the last seconds.
    now = await server_time(governed)
    await age_ledger(governed.redis, pool.queue, int(restored_at.timestamp() - now) - 6)
    assert (await ledger.usage(BUDGET)).exceeded, "it is given back when it is time, and not before"
    restored_at = (await ledger.usage(BUDGET)).restored_at
    assert restored_at is not None
    await has_mode(pool, "Auto", 90)
    restored_after = await server_time(governed) - restored_at.timestamp()
    assert restored_after > -0.5
    await raised(pool, restored_at)
    running_after = await server_time(governed) - restored_at.timestamp()
    await age_ledger(governed.redis, pool.queue, DAY)  # the rest of it, for the rest of the tasks
    results = await pool.results(ids)
    assert {(result.status, result.attempts) for result in results} == {("completed", 1)}
    assert sum(result.input_tokens + result.output_tokens for result in results) == 26_000
    assert (await events(pool, "BudgetRestored"))[0].endswith("The pool is back in mode Auto.")
    print(
        f"cap -> 0 replicas {stopped_after:.2f} s; restore time -> Auto {restored_after:.2f} s, "
        f"-> replicas {running_after:.2f} s"
    )


async def server_time(stack: Stack) -> float:
    """Return the time by Redis' clock, seconds since 1970."""
    seconds, microseconds = await stack.redis.time()
    return float(seconds) + float(microseconds) / 1e6


async def raised(pool: Pool, restored_at: datetime) -> None:
    async def running() -> bool:
        return await pool.replicas() > 0

    await eventually(running, f"a pool that is back after {restored_at}", 60, every=0.05)


async def test_a_raised_limit_gives_a_pool_back_within_seconds(governed: Stack) -> None:
    pool = await make(governed, autoscaling={"maxReplicas": 2, "cooldownSeconds": 30}, limits=LIMITS)
    await pool.accepted()
    ledger = TokenLedger(governed.redis, pool.queue)
    await ledger.settle(await ledger.reserve(BUDGET, 60), 19_500, 0)
    await has_mode(pool, "Budget")
    ids = await submit(pool, 3)
    await asyncio.sleep(3)
    assert await pool.replicas() == 0, "woken for work that cannot be done"
    patch = {"spec": {"limits": {"maxDailyTokens": 30_000}}}
    await governed.api.patch(ARK_AGENTS.path(governed.namespace, pool.agent), patch)
    await has_mode(pool, "Auto", 30)
    assert {result.status for result in await pool.results(ids)} == {"completed"}


async def test_a_fixed_pool_stops_too_and_a_redis_that_is_away_changes_nothing(governed: Stack) -> None:
    pool = await make(governed, replicas=2, limits=LIMITS)
    await pool.reaches(2)
    ledger = TokenLedger(governed.redis, pool.queue)
    await ledger.settle(await ledger.reserve(BUDGET, 60), 19_500, 0)
    await has_mode(pool, "Budget")
    await pool.reaches(0)
    await governed.cut_off_redis()
    await age_ledger(governed.redis, pool.queue, DAY + 2)
    await asyncio.sleep(8)
    assert (await status_of(pool))["mode"] == "Budget"
    assert await pool.replicas() == 0
    await governed.bring_back_redis()
    await has_mode(pool, "Static", 90)
    await pool.reaches(2)
