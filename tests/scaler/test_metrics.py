"""What ``/metrics`` shows beside what calls have asked for: token budgets and dead letters."""

from __future__ import annotations

import asyncio
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from ark_taskqueue import Budget, Client, QueueKeys, TokenLedger
from hack.local.redis_server import RedisServer
from tests.scaler.keda import add_task, scaler_and_keda


async def samples(port: int, metric: str) -> list[tuple[dict[str, str], float]]:
    """Return the samples of a metric."""

    def get() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as response:
            return str(response.read().decode())

    families = text_string_to_metric_families(await asyncio.to_thread(get))
    return [(s.labels, s.value) for family in families for s in family.samples if s.name == metric]


async def test_each_queues_tokens_are_shown_once_with_the_limit_that_was_asked_about_last(
    redis_server: RedisServer, client: Client, queue: QueueKeys
) -> None:
    """Prometheus refuses a whole page for one series that is there twice."""
    ledger = TokenLedger(client, queue)
    await ledger.settle(await ledger.reserve(Budget(10_000, 1000), 60), 1500, 200)
    await add_task(client)  # nobody asks for the tokens of a queue without demand
    async with scaler_and_keda(redis=redis_server.url) as (scaler, keda):
        for limit in ("20000", "2000"):
            await keda.metric(keda.reference(maxDailyTokens=limit, maxTokensPerCall="1000"))
        place = {"redis": "default", "queue": queue.name}
        port = scaler.http_port
        assert await samples(port, "ark_queue_budget_limit_tokens") == [(place, 2000)]
        assert await samples(port, "ark_queue_budget_exceeded") == [(place, 1)]
        used = await samples(port, "ark_queue_budget_used_tokens")
        assert used == [({**place, "kind": "input"}, 1500), ({**place, "kind": "output"}, 200)]
        # Another group of the stream has the same ledger: of the two limits the lower one is shown, once.
        await keda.metric(keda.reference(group="others", maxDailyTokens="1900", maxTokensPerCall="1000"))
        assert await samples(port, "ark_queue_budget_limit_tokens") == [(place, 1900)]
        assert len(await samples(port, "ark_queue_budget_used_tokens")) == 2


async def test_dead_letters_are_counted_at_each_scrape(
    redis_server: RedisServer, client: Client, queue: QueueKeys
) -> None:
    async with scaler_and_keda(redis=redis_server.url) as (scaler, keda):
        await keda.metric(keda.reference())
        place = {"redis": "default", "queue": queue.name}
        assert await samples(scaler.http_port, "ark_queue_dead_letters") == [(place, 0)]
        await client.execute_command("XADD", queue.dead, "*", "ark.error", "broken")
        assert await samples(scaler.http_port, "ark_queue_dead_letters") == [(place, 1)]


async def test_a_queue_whose_dead_letters_cannot_be_counted_leaves_the_others_alone(
    redis_server: RedisServer, client: Client, queue: QueueKeys
) -> None:
    other = QueueKeys.for_agent("default", "other")
    await client.execute_command("SET", other.dead, "no stream")
    await client.execute_command("XADD", queue.dead, "*", "ark.error", "broken")
    async with scaler_and_keda(redis=redis_server.url) as (scaler, keda):
        for name in (other.name, queue.name):
            await keda.metric(keda.reference(name))
        assert await samples(scaler.http_port, "ark_queue_dead_letters") == [
            ({"redis": "default", "queue": queue.name}, 1)
        ]
