"""Layer 2 of the token budget: the operator reads real ledgers and stops and restores pools by them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ark_taskqueue import Budget, Client, QueueKeys, TokenLedger, connect
from hack.local.redis_server import RedisServer
from tests.cluster.operator.operating import World, agent, operating, queue_of
from tests.cluster.operator.scrape import more, samples
from tests.eventually import eventually
from tests.taskqueue.moving_time import age_ledger

LIMITS = {"maxDailyTokens": 10_000, "maxTokensPerCall": 1000}
BUDGET = Budget(10_000, 1000)
DAY = 86_400


@pytest.fixture
async def client(redis_server: RedisServer) -> AsyncIterator[Client]:
    client = connect(redis_server.url)
    yield client
    await client.aclose()


async def spend(client: Client, queue: QueueKeys, read: int, wrote: int = 0) -> None:
    ledger = TokenLedger(client, queue)
    await ledger.settle(await ledger.reserve(Budget(None, 1000), 60), read, wrote)


async def shows(here: World, tokens: dict[str, int]) -> None:
    async def shown() -> bool:
        return bool((await here.agent()).get("status", {}).get("dailyTokenUsage") == tokens)

    await eventually(shown, f"{tokens} in the status", every=0.05)


@pytest.mark.parametrize("spec", [{"replicas": 3}, {"autoscaling": {"minReplicas": 3}}])
async def test_a_pool_goes_to_zero_when_its_ledger_says_so_and_comes_back_when_it_does_not(
    here: World, redis_server: RedisServer, client: Client, spec: dict[str, Any]
) -> None:
    queue = queue_of(here)
    base = "Auto" if "autoscaling" in spec else "Static"
    async with operating(here, ledgers=True, redis=redis_server.url, usage_seconds=0.2) as (_, port):
        await here.make(agent(limits=LIMITS, **spec))
        await here.replicas(3)
        await shows(here, {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0})
        await spend(client, queue, 5000, 4000)
        await shows(here, {"inputTokens": 5000, "outputTokens": 4000, "totalTokens": 9000})
        assert (await here.agent())["status"]["mode"] == base
        await spend(client, queue, 1)
        await here.mode("Budget")
        await here.replicas(0)
        restored = (await TokenLedger(client, queue).usage(BUDGET)).restored_at
        assert restored is not None
        message = (await here.condition("BudgetExceeded"))[2]
        assert "9001 of 10000 tokens were used in 24 hours" in message
        assert f"comes back by itself at {restored:%Y-%m-%dT%H:%M:%SZ}" in message
        assert await here.events("DailyLimitReached") == [message]
        assert await samples(port, "ark_budget_limit_tokens", agent="writer") == 10_000
        assert await samples(port, "ark_budget_used_tokens", agent="writer", kind="input") == 5001
        assert await samples(port, "ark_budget_used_tokens", agent="writer", kind="output") == 4000
        assert await samples(port, "ark_budget_exceeded", namespace=here.namespace) == 1
        assert await samples(port, "ark_budget_restored_timestamp_seconds") == restored.timestamp()
        await age_ledger(client, queue, DAY + 2)
        await here.mode(base)
        assert base == "Auto" or (await here.deployment())["spec"]["replicas"] == 3
        [event] = await here.events("BudgetRestored")
        assert event.startswith("0 of 10000 tokens were used in 24 hours, so a full call of 1000 fits again.")


async def test_a_raised_or_removed_limit_counts_at_once(here: World, redis_server: RedisServer, client: Client) -> None:
    """Though nothing would be read for an hour."""
    await spend(client, queue_of(here), 9500)
    rare: dict[str, Any] = {"usage_seconds": 3600, "status_seconds": 3600}
    async with operating(here, ledgers=True, redis=redis_server.url, **rare) as (_, port):
        await here.make(agent(limits=LIMITS, replicas=2))
        await here.mode("Budget")
        await here.patch(limits={"maxDailyTokens": 10_600})
        await here.mode("Static")
        await here.replicas(2)
        await here.patch(limits={"maxDailyTokens": 10_100})
        await here.mode("Budget")
        await here.patch(limits={"maxTokensPerCall": 500})
        await here.mode("Static")
        await here.patch(limits={"maxDailyTokens": 5000})
        await here.mode("Budget")
        await here.patch(limits={"maxDailyTokens": None})
        await here.mode("Static")
        assert await samples(port, "ark_budget_limit_tokens") == 0, "an agent without a limit has none"
        assert any("The daily token limit was removed" in event for event in await here.events("BudgetRestored"))


async def test_a_redis_that_does_not_answer_changes_no_mode(here: World, folder: Path) -> None:
    stopped, runs = queue_of(here, "stopped"), queue_of(here, "runs")
    with RedisServer(folder, persistent=True) as redis:
        client = connect(redis.url, timeout=1)
        await spend(client, stopped, 10_000)
        await spend(client, runs, 10)
        async with operating(here, ledgers=True, redis=redis.url, usage_seconds=0.2, resync_seconds=0.3) as (_, port):
            for name in ("stopped", "runs"):
                await here.make(agent(name, limits=LIMITS, replicas=2))
            await here.mode("Budget", "stopped")
            await here.mode("Static", "runs")
            await here.replicas(2, "runs")
            redis.kill()

            await more(port, "ark_operator_usage_read_errors_total", 6)
            assert (await here.agent("stopped"))["status"]["mode"] == "Budget"
            assert (await here.agent("runs"))["status"]["mode"] == "Static"
            assert (await here.deployment("runs"))["spec"]["replicas"] == 2
            redis.start()
            await age_ledger(client, stopped, DAY + 2)
            await here.mode("Static", "stopped")
        await client.aclose()


async def test_a_restarted_operator_that_cannot_read_keeps_every_mode(here: World, folder: Path) -> None:
    with RedisServer(folder, persistent=True) as redis:
        client = connect(redis.url, timeout=1)
        await spend(client, queue_of(here), 10_000)
        async with operating(here, ledgers=True, redis=redis.url):
            await here.make(agent(limits=LIMITS, replicas=2))
            await here.mode("Budget")
            await here.replicas(0)
        await client.aclose()
        redis.kill()
        async with operating(here, ledgers=True, redis=redis.url, resync_seconds=0.2) as (_, port):
            await more(port, "ark_operator_usage_read_errors_total")
            await more(port, "controller_runtime_reconcile_total", 5)
            assert (await here.agent())["status"]["mode"] == "Budget"
            assert (await here.deployment())["spec"]["replicas"] == 0


async def test_a_ledger_that_cannot_be_read_is_its_own_agents_affair(
    here: World, redis_server: RedisServer, client: Client
) -> None:
    await client.execute_command("SET", queue_of(here, "broken").tokens, "x")
    await spend(client, queue_of(here, "good"), 10_000)
    async with operating(here, ledgers=True, redis=redis_server.url, usage_seconds=0.2):
        await here.make(agent("broken", limits=LIMITS, replicas=1))
        await here.make(agent("good", limits=LIMITS, replicas=1))
        await here.mode("Budget", "good")
        await here.mode("Static", "broken")
        assert (await here.condition("BudgetExceeded", "broken"))[:2] == ("Unknown", "UsageUnknown")


async def test_all_ledgers_are_one_pipeline_and_those_without_a_limit_are_none(
    here: World, redis_server: RedisServer, client: Client
) -> None:
    async def pipelines(port: int) -> float:
        return await samples(port, "ark_operator_usage_pipelines_total")

    rare: dict[str, Any] = {"usage_seconds": 3600, "status_seconds": 0.5}
    async with operating(here, ledgers=True, redis=redis_server.url, **rare) as (_, port):
        await here.make(agent("free", replicas=0))
        await here.mode("Static", "free")
        assert await pipelines(port) == 0
        for number in range(5):
            await here.make(agent(f"limited-{number}", limits=LIMITS, replicas=0))
        await shows_all(here)
        before = await pipelines(port)
        await asyncio.sleep(2.2)
        assert 2 <= await pipelines(port) - before <= 6


async def shows_all(here: World) -> None:
    async def shown() -> bool:
        items = [await here.agent(f"limited-{number}") for number in range(5)]
        return all("dailyTokenUsage" in item.get("status", {}) for item in items)

    await eventually(shown, "the usage of all", every=0.05)


async def test_a_limit_that_is_set_again_later_is_judged_by_a_new_reading(
    here: World, redis_server: RedisServer, client: Client
) -> None:
    queue = queue_of(here)
    await spend(client, queue, 9500)
    async with operating(here, ledgers=True, redis=redis_server.url, usage_seconds=3600, status_seconds=3600):
        await here.make(agent(limits=LIMITS, replicas=2))
        await here.mode("Budget")
        await here.patch(limits={"maxDailyTokens": None})
        await here.mode("Static")
        await age_ledger(client, queue, DAY + 2)
        await here.patch(limits={"maxDailyTokens": 10_000})
        await here.has("BudgetExceeded", "WithinLimit")
        assert len(await here.events("DailyLimitReached")) == 1
