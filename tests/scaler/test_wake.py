"""A task for an idle queue is pushed, whenever it comes and whatever happened to the stream before."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import aiohttp
import grpc
import pytest
from redis.asyncio.cluster import RedisCluster
from structlog.testing import capture_logs

from ark_scaler.watch import WATCH_CONNECTIONS
from ark_taskqueue import PRIORITIES, Budget, Client, Consumer, Outcome, Priority, QueueKeys, TokenLedger, connect
from hack.local.redis_server import RedisServer
from hack.local.redis_topology import cluster_setup, sentinel_setup
from tests.eventually import DEADLINE_SECONDS, eventually
from tests.scaler.keda import Keda, add_task, failure, scaler_and_keda, watched
from tests.taskqueue.moving_time import age_ledger

REDIS_ACL = (Path(__file__).parents[2] / "docs" / "reference" / "redis-acl.md").read_text()
TRIALS = 2000
QUEUES = 50


@pytest.fixture
async def keda(redis_server: RedisServer) -> AsyncIterator[Keda]:
    async with scaler_and_keda(redis=redis_server.url) as (_, keda):
        yield keda


async def pushed(stream: Any) -> None:
    """Wait for the next true."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        response = await stream.read()
    assert response is not grpc.aio.EOF, "the stream ended"
    assert response.result is True


async def known_idle(keda: Keda, queue: str) -> None:
    """Let the scaler see that the queue is idle, as KEDA's poll does."""

    async def idle() -> bool:
        return not await keda.is_active(keda.reference(queue))

    await eventually(idle, "an idle queue")


async def test_the_first_task_of_an_idle_queue_is_pushed(keda: Keda, client: Client) -> None:
    stream = keda.stream(keda.reference())
    await watched(client)
    await add_task(client)
    await pushed(stream)


@pytest.mark.parametrize("priority", ["high", "low"])
async def test_so_is_one_of_another_priority_the_first_ever_and_a_later_one(
    keda: Keda, client: Client, queue: QueueKeys, priority: Priority
) -> None:
    stream = keda.stream(keda.reference())
    await watched(client)
    for number in range(3):
        await add_task(client, priority=priority)
        await pushed(stream)
        assert await keda.metric(keda.reference()) == 1, f"time {number + 1}"
        worker = Consumer(client, queue, "w")
        [task] = await worker.claim(1)
        assert await worker.complete(task, Outcome("y"), 0.1)
        await known_idle(keda, queue.name)
        await watched(client)


async def test_a_queue_that_was_busy_is_woken_by_another_priority(keda: Keda, client: Client, queue: QueueKeys) -> None:
    """The streams of high and low priority stay watched while a queue is busy."""
    stream, worker = keda.stream(keda.reference()), Consumer(client, queue, "w")
    for priority, beside in (("normal", "high"), ("high", "normal"), ("normal", "low"), ("low", "high")):
        await known_idle(keda, queue.name)
        await watched(client)
        await add_task(client, priority=cast("Priority", priority))
        await pushed(stream)
        await add_task(client, priority=cast("Priority", beside))
        assert await keda.metric(keda.reference()) == 2
        for task in await worker.claim(2):
            assert await worker.complete(task, Outcome("y"), 0.1)


@pytest.mark.parametrize("which", range(WATCH_CONNECTIONS))
@pytest.mark.parametrize("priority", PRIORITIES)
async def test_the_loss_of_one_watching_connection_delays_nothing_for_long(
    keda: Keda, client: Client, priority: Priority, which: int
) -> None:
    stream = keda.stream(keda.reference())
    await watched(client)
    blocked = [entry["id"] for entry in await client.client_list() if entry["cmd"] == "xread"]
    await client.execute_command("CLIENT", "KILL", "ID", sorted(blocked, key=int)[which])
    await add_task(client, priority=priority)
    await pushed(stream)


async def test_a_queue_that_is_active_when_the_stream_opens_is_pushed(keda: Keda, client: Client) -> None:
    await add_task(client)
    await pushed(keda.stream(keda.reference()))


async def test_a_true_that_keda_missed_comes_again_until_a_worker_takes_a_task(
    keda: Keda, client: Client, queue: QueueKeys
) -> None:
    """KEDA drops a true that comes before it has filled the ScaledObject's metric names."""
    stream = keda.stream(keda.reference())
    await watched(client)
    await add_task(client)
    await pushed(stream)
    await pushed(stream)
    await Consumer(client, queue, "w").claim(1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(7):
            await stream.read()


async def test_a_pool_with_an_activation_is_woken_by_the_task_that_exceeds_it(keda: Keda, client: Client) -> None:
    stream = keda.stream(keda.reference(activationTasks="3"))
    waiting = asyncio.ensure_future(stream.read())
    for _ in range(3):
        await add_task(client)
        await watched(client)
        await eventually(lambda: keda.is_active(keda.reference()), "the task's reading")
        assert not waiting.done()
    await add_task(client)
    async with asyncio.timeout(DEADLINE_SECONDS):
        assert (await waiting).result is True


async def test_old_acknowledged_entries_do_not_keep_a_queue_from_being_woken(
    keda: Keda, client: Client, queue: QueueKeys
) -> None:
    await add_task(client)
    [task] = await Consumer(client, queue, "w").claim(1)
    await client.execute_command("XACK", queue.stream, queue.group, task.id)
    stream = keda.stream(keda.reference())
    await known_idle(keda, "default/writer")
    await watched(client)
    await add_task(client)
    await pushed(stream)


@pytest.mark.parametrize("command", [("DEL", "ark:{default/writer}:tasks"), ("FLUSHALL",)])
async def test_a_stream_that_was_deleted_and_made_anew_with_lower_ids_is_watched(
    keda: Keda, client: Client, queue: QueueKeys, command: tuple[str, ...]
) -> None:
    await add_task(client)
    worker = Consumer(client, queue, "w")
    await worker.complete((await worker.claim(1))[0], Outcome(""), 0)
    stream = keda.stream(keda.reference())
    await known_idle(keda, "default/writer")
    await watched(client)
    await client.execute_command(*command)
    await client.execute_command("XADD", queue.stream, "1-1", "prompt", "x")
    await pushed(stream)


async def test_one_more_stream_is_watched_while_others_are(keda: Keda, client: Client) -> None:
    for number in range(20):
        stream = keda.stream(keda.reference(f"default/agent-{number}"))
        await asyncio.sleep(0.01 * (number % 3))
        await add_task(client, f"default/agent-{number}")
        await pushed(stream)


async def test_the_watch_survives_a_stream_that_became_something_else(keda: Keda, client: Client) -> None:
    streams = [keda.stream(keda.reference(f"default/{name}")) for name in ("good", "broken")]
    await watched(client)
    broken = QueueKeys.for_agent("default", "broken").stream
    await client.execute_command("SET", broken, "x")
    await asyncio.sleep(2.5)  # a new round of the watch
    await add_task(client, "default/good")
    await pushed(streams[0])
    await client.execute_command("DEL", broken)
    await add_task(client, "default/broken")
    await pushed(streams[1])


async def test_no_wake_up_is_lost_whenever_the_task_comes(keda: Keda, client: Client) -> None:
    """Thousands of tasks at random moments around the reading that finds a queue idle and the start of its watch.

    Each round a worker empties the queue, KEDA's poll makes the scaler read it, and a new task comes before, during
    or after that: a true must follow, though nothing else happens.
    """
    chance = random.Random(1)
    rounds = TRIALS // QUEUES

    async def trial(number: int) -> None:
        name = f"default/agent-{number}"
        worker = Consumer(client, QueueKeys.for_queue(name), "w")
        stream = keda.stream(keda.reference(name))
        for _ in range(rounds):
            poll = asyncio.create_task(keda.is_active(keda.reference(name)))
            if chance.random() < 0.5:
                await poll
            await asyncio.sleep(chance.random() * chance.choice((0.0, 0.002, 0.02, 0.1)))
            await add_task(client, name)
            await pushed(stream)
            await poll
            [task] = await worker.claim(1)
            await worker.complete(task, Outcome(""), 0.01)
            await known_idle(keda, name)
        stream.cancel()

    async with asyncio.TaskGroup() as trials:
        for number in range(QUEUES):
            trials.create_task(trial(number))


async def test_the_documented_acl_user_is_enough(redis_server: RedisServer, client: Client, queue: QueueKeys) -> None:
    [rules] = re.findall(r"^ACL SETUSER (ark-scaler .*)$", REDIS_ACL, re.MULTILINE)
    assert redis_server.command("ACL", "SETUSER", *rules.split()).startswith(b"+OK")
    try:
        url = f"redis://ark-scaler:password@127.0.0.1:{redis_server.port}"
        async with scaler_and_keda(redis=url) as (_, keda):
            stream = keda.stream(keda.reference())
            await watched(client)
            await add_task(client)
            await pushed(stream)
            await Consumer(client, queue, "w").claim(1)
            assert await keda.metric(keda.reference()) == 1
            ledger, budget = TokenLedger(client, queue), Budget(10_000, 1000)
            await ledger.settle(await ledger.reserve(budget, 60), 9500, 0)
            await ledger.reserve(budget, 60, tokens=500)
            capped = keda.reference(maxDailyTokens="10000", maxTokensPerCall="1000")
            assert await keda.metric(capped) == 0
            await age_ledger(client, queue, 24 * 3600 + 2)

            async def restored() -> bool:
                return await keda.metric(capped) == 1

            await eventually(restored, "the demand, though this user may not put the ledger in order")
    finally:
        redis_server.command("ACL", "DELUSER", "ark-scaler")


async def test_two_groups_of_one_stream_are_both_watched(keda: Keda, client: Client, queue: QueueKeys) -> None:
    """The second group's later position must not become the first one's."""
    other = QueueKeys(queue.stream, "others")
    streams = [keda.stream(keda.reference()), keda.stream(keda.reference(group="others", activationTasks="1"))]
    await Consumer(client, queue, "w").claim(1)
    await Consumer(client, other, "w").claim(1)
    await known_idle(keda, "default/writer")
    await watched(client)
    await add_task(client)
    await pushed(streams[0])
    await add_task(client)
    await pushed(streams[1])


async def test_a_user_that_may_not_unblock_clients_still_wakes(redis_server: RedisServer, client: Client) -> None:
    redis_server.command(
        "ACL", "SETUSER", "scaler", "on", ">secret", "~ark:*", "+@all", "-@admin", "-client|unblock", "-client|id"
    )
    try:
        url = f"redis://scaler:secret@127.0.0.1:{redis_server.port}"
        async with scaler_and_keda(redis=url) as (_, keda):
            for number in range(3):
                stream = keda.stream(keda.reference(f"default/agent-{number}"))
                await watched(client)
                await asyncio.sleep(0.3)
                await add_task(client, f"default/agent-{number}")
                await pushed(stream)
    finally:
        redis_server.command("ACL", "DELUSER", "scaler")


async def test_after_a_failover_queues_are_watched_on_the_new_primary(folder: Path) -> None:
    with sentinel_setup(folder) as setup:
        async with scaler_and_keda(redis=setup.url) as (_, keda):
            streams = [keda.stream(keda.reference(f"default/{name}")) for name in ("one", "two")]
            primary = connect(setup.primary.url)
            await watched(primary)
            await add_task(primary, "default/one")
            await pushed(streams[0])
            await primary.aclose()
            setup.fail_over()
            promoted = connect(setup.replica.url)
            await add_task(promoted, "default/two")
            await pushed(streams[1])
            assert await keda.metric(keda.reference("default/two")) == 1
            await promoted.aclose()


async def test_in_a_cluster_queues_of_all_slots_are_watched(folder: Path) -> None:
    with cluster_setup(folder) as nodes:
        url = f"redis+cluster://127.0.0.1:{nodes[0].port}"
        async with scaler_and_keda(redis=url) as (_, keda):
            client = connect(url)
            names = [f"default/agent-{number}" for number in range(12)]
            streams = [keda.stream(keda.reference(name)) for name in names]
            for name in names:
                await known_idle(keda, name)
            for number, (name, stream) in enumerate(zip(names, streams, strict=True)):
                await add_task(client, name, PRIORITIES[number % len(PRIORITIES)])
                await pushed(stream)
                assert await keda.metric(keda.reference(name)) == 1
            await client.aclose()


async def test_in_a_cluster_a_dead_node_is_its_own_queues_failure_only(folder: Path) -> None:
    with cluster_setup(folder, options=["--cluster-require-full-coverage", "no"]) as nodes:
        url = f"redis+cluster://127.0.0.1:{nodes[0].port},127.0.0.1:{nodes[1].port}"
        async with scaler_and_keda(redis=url, hold_seconds=0) as (_, keda):
            client = connect(url)
            names = [f"default/agent-{number}" for number in range(12)]
            streams = {name: keda.stream(keda.reference(name)) for name in names}
            for name in names:
                await known_idle(keda, name)
            cluster = await cast("RedisCluster", client).initialize()
            dead = {
                name
                for name in names
                if cluster.get_node_from_key(QueueKeys.for_queue(name).stream).port == nodes[2].port  # type: ignore[union-attr]
            }
            assert dead
            assert len(dead) < len(names)
            nodes[2].kill()
            for name in set(names) - dead:
                await add_task(client, name)
                await pushed(streams[name])

                async def counted(name: str = name) -> bool:
                    return await keda.metric(keda.reference(name)) == 1

                await eventually(counted, "the reading of a queue on a node that lives")
            code, _ = await failure(keda.is_active(keda.reference(dead.pop())))
            assert code == "UNAVAILABLE"
            await client.aclose()


async def test_a_user_that_may_not_watch_is_no_outage_and_is_polled_for(
    redis_server: RedisServer, client: Client
) -> None:
    """NOPERM for XREAD showed as ``redis_up 0``, a critical alert, with "reachable" and "not reachable" in turns."""
    redis_server.command("ACL", "SETUSER", "scaler", "on", ">secret", "~ark:*", "+@all", "-@admin", "-xread")
    try:
        with capture_logs() as logs:
            url = f"redis://scaler:secret@127.0.0.1:{redis_server.port}"
            async with scaler_and_keda(redis=url) as (scaler, keda):
                stream = keda.stream(keda.reference())
                assert await keda.metric(keda.reference()) == 0
                await asyncio.sleep(3)
                await add_task(client)
                await pushed(stream)
                metrics = f"http://127.0.0.1:{scaler.http_port}/metrics"
                async with aiohttp.ClientSession() as session, session.get(metrics) as answer:
                    assert 'ark_scaler_redis_up{redis="default"} 1.0' in await answer.text()
        said = [entry["event"] for entry in logs if entry["log_level"] != "debug"]
        assert len([event for event in said if "this Redis user may not watch queues" in event]) == 1
        assert said.count("redis is not reachable") == 0
        assert said.count("redis is reachable") == 1
    finally:
        redis_server.command("ACL", "DELUSER", "scaler")


async def test_where_client_is_not_there_queues_are_watched_all_the_same(folder: Path) -> None:
    """Where CLIENT was renamed or forbidden the scaler never became ready."""
    with RedisServer(folder) as server:
        server.command("ACL", "SETUSER", "default", "-client")
        client = connect(server.url)
        async with scaler_and_keda(redis=server.url) as (_, keda):
            for number in range(2):
                stream = keda.stream(keda.reference(f"default/agent-{number}"))
                await watched(client)
                await add_task(client, f"default/agent-{number}")
                await pushed(stream)
        await client.aclose()
