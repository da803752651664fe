"""Layer 1b of the token budget: no demand and no wake-up while it is exceeded, and both again when it is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import grpc
import pytest

from ark_scaler.server import running
from ark_taskqueue import Budget, Client, QueueKeys, TokenLedger
from hack.local.proxy import Proxy
from hack.local.redis_server import RedisServer
from tests.eventually import eventually
from tests.scaler.keda import Keda, add_task, failure, scaler_and_keda, settings
from tests.scaler.test_streams import scraped
from tests.taskqueue.moving_time import age_ledger

BUDGET = Budget(10_000, 1000)
METADATA = {"maxDailyTokens": "10000", "maxTokensPerCall": "1000"}
DAY = 86_400


@pytest.fixture
async def keda(redis_server: RedisServer) -> AsyncIterator[Keda]:
    async with scaler_and_keda(redis=redis_server.url) as (_, keda):
        yield keda


async def spend(client: Client, queue: QueueKeys, tokens: int) -> None:
    ledger = TokenLedger(client, queue)
    await ledger.settle(await ledger.reserve(BUDGET, 60, tokens=0), tokens, 0)


async def test_there_is_no_demand_while_the_budget_is_exceeded(keda: Keda, client: Client, queue: QueueKeys) -> None:
    with_budget, without = keda.reference(**METADATA), keda.reference()
    for _ in range(3):
        await add_task(client)
    await spend(client, queue, 9000)
    assert (await keda.is_active(with_budget), await keda.metric(with_budget)) == (True, 3)
    await spend(client, queue, 1)

    async def no_demand() -> bool:
        return (await keda.is_active(with_budget), await keda.metric(with_budget)) == (False, 0)

    await eventually(no_demand, "the end of the demand")
    assert (await keda.is_active(without), await keda.metric(without)) == (True, 3)
    more = keda.reference(**{**METADATA, "maxDailyTokens": "20000"})
    assert (await keda.is_active(more), await keda.metric(more)) == (True, 3), "a raised limit counts at once"


async def test_the_demand_is_back_when_the_window_has_moved_on(keda: Keda, client: Client, queue: QueueKeys) -> None:
    await add_task(client)
    await spend(client, queue, 10_000)
    reference = keda.reference(**METADATA)
    assert await keda.metric(reference) == 0
    await age_ledger(client, queue, DAY + 2)

    async def demand() -> bool:
        return await keda.is_active(reference) and await keda.metric(reference) == 1

    await eventually(demand, "the demand")


async def test_reservations_are_no_reason_to_stop_a_pool(keda: Keda, client: Client, queue: QueueKeys) -> None:
    await add_task(client)
    ledger = TokenLedger(client, queue)
    for _ in range(10):
        await ledger.reserve(BUDGET, 60)
    assert await keda.metric(keda.reference(**METADATA)) == 1


async def test_nobody_is_woken_while_the_budget_is_exceeded_and_everybody_after(
    keda: Keda, client: Client, queue: QueueKeys
) -> None:
    await spend(client, queue, 9500)
    stream = keda.stream(keda.reference(**METADATA))
    pushed = asyncio.create_task(stream.read())
    other = keda.stream(keda.reference())
    await add_task(client)
    async with asyncio.timeout(30):
        assert (await other.read()).result is True, "the task was seen"
    done, _ = await asyncio.wait([pushed], timeout=2)
    assert not done, "woken for work that cannot be done"
    await age_ledger(client, queue, DAY + 2)
    async with asyncio.timeout(30):
        assert (await pushed).result is True


async def test_nobody_is_woken_after_all_for_work_that_is_gone(keda: Keda, client: Client, queue: QueueKeys) -> None:
    await spend(client, queue, 9500)
    await add_task(client)
    pushed = asyncio.create_task(keda.stream(keda.reference(**METADATA)).read())
    await asyncio.sleep(0.5)
    await client.delete(queue.stream)
    await age_ledger(client, queue, DAY + 2)
    done, _ = await asyncio.wait([pushed], timeout=7)
    assert not done
    pushed.cancel()


async def test_a_stop_ends_streams_that_wait_for_their_budget(redis_server: RedisServer, client: Client) -> None:
    queue = QueueKeys.for_agent("default", "writer")
    await spend(client, queue, 9500)
    await add_task(client)
    async with AsyncExitStack() as calling:
        async with running(settings(redis=redis_server.url)) as scaler:
            # Closed after the scaler has stopped: what the stream ends with is the scaler's.
            channel = await calling.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{scaler.grpc_port}"))
            stream = Keda(channel).stream(Keda.reference(**METADATA))
            pushed = asyncio.ensure_future(stream.read())

            async def looked() -> bool:
                return await scraped(scaler.http_port, "ark_scaler_usage_reads_total") >= 1

            await eventually(looked, "the look at the budget")
            assert not pushed.done()
        async with asyncio.timeout(30):
            assert await pushed is grpc.aio.EOF
            assert await stream.code() == grpc.StatusCode.OK


async def test_while_redis_fails_the_budget_stays_what_it_was_and_never_becomes_a_guess(
    redis_server: RedisServer, client: Client, queue: QueueKeys
) -> None:
    await add_task(client)
    await spend(client, queue, 10_000)
    async with (
        Proxy(redis_server.port) as proxy,
        scaler_and_keda(redis=f"redis://127.0.0.1:{proxy.port}", hold_seconds=3) as (_, keda),
    ):
        reference = keda.reference(**METADATA)
        assert await keda.metric(reference) == 0
        proxy.hang()
        assert await keda.metric(reference) == 0, "held"

        async def unknown() -> bool:
            try:
                await keda.metric(reference)
            except Exception:  # noqa: BLE001 - its code is looked at below
                return True
            return False

        await eventually(unknown, "the end of the held value")
        code, message = await failure(keda.metric(reference))
        assert code == "UNAVAILABLE"
        assert "is failing" in message


async def test_a_ledger_that_is_none_is_said_so(keda: Keda, client: Client, queue: QueueKeys) -> None:
    await add_task(client)
    await client.execute_command("SET", queue.tokens, "x")
    code, message = await failure(keda.metric(keda.reference(**METADATA)))
    assert code == "FAILED_PRECONDITION"
    assert "token usage of default/writer" in message


async def test_an_idle_queue_costs_no_read_of_its_budget(keda: Keda, client: Client) -> None:
    async def ledger_reads() -> int:
        return int((await client.info("commandstats")).get("cmdstat_lindex", {}).get("calls", 0))

    before = await ledger_reads()
    for _ in range(20):
        assert await keda.metric(keda.reference(**METADATA)) == 0
    assert await ledger_reads() == before


async def test_a_budget_is_shown_while_the_queue_is_idle(keda: Keda, client: Client, queue: QueueKeys) -> None:
    """The series vanished a minute after the last task: nobody reads a ledger for a queue without demand."""
    from ark_scaler.budgets import Budgets
    from ark_scaler.metrics import ScalerMetrics
    from ark_scaler.readers.redis import usage_reader

    now = [1000.0]
    budgets = Budgets("default", usage_reader("default", client, 5, ScalerMetrics()), 60, lambda: now[0])
    budget = Budget(10_000, 1000)
    ledger = TokenLedger(client, queue)
    await ledger.settle(await ledger.reserve(budget, 60), 100, 0)
    running = asyncio.create_task(budgets.run())
    budgets.note(queue, budget)
    for _ in range(3):
        await budgets.refresh()
        [(_, shown, usage)] = budgets.known()
        assert (shown, usage.input) == (budget, 100)
        now[0] += 120
        budgets.note(queue, budget)
    now[0] += 1000
    budgets.note(queue, Budget(5, 5))
    await budgets.refresh()
    assert [shown.daily for _, shown, _ in budgets.known()] == [5], "one that nobody asks about any more is forgotten"
    running.cancel()
    await asyncio.wait([running])
