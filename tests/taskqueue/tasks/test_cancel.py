"""A cancelled task leaves the queue wherever it is, and its result says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from ark_taskqueue import (
    PRIORITIES,
    Client,
    Consumer,
    DeadLetters,
    InvalidTaskId,
    Outcome,
    Priority,
    Producer,
    QueueKeys,
    RedisUnavailable,
    RetryPolicy,
    connect,
    read_counts,
    read_demand,
    read_depth,
)
from hack.local.redis_server import RedisServer


@pytest.mark.parametrize("priority", PRIORITIES)
async def test_a_waiting_task_is_gone(each_client: Client, queue: QueueKeys, priority: Priority) -> None:
    producer, worker = Producer(each_client, queue), Consumer(each_client, queue, "w")
    task_id = (await producer.submit("x", priority=priority)).task_id
    assert await producer.cancel(task_id) == "waiting"
    assert await worker.claim(1) == []
    assert (await read_depth(each_client, queue)).demand == 0
    result = await producer.wait_for_result(task_id)
    assert (result.status, result.attempts) == ("cancelled", 0)


async def test_a_running_task_is_nobodys_any_more(each_client: Client, queue: QueueKeys) -> None:
    producer, worker = Producer(each_client, queue), Consumer(each_client, queue, "w")
    task_id = (await producer.submit("x")).task_id
    [task] = await worker.claim(1)
    assert await producer.cancel(task_id) == "running"
    assert await worker.renew([task]) == [task], "so its worker hears of it"
    assert not await worker.complete(task, Outcome("y"), 0.1)
    assert (await worker.fail(task, "boom")).outcome == "lost"
    assert (await worker.refuse(task, "no")).outcome == "lost"
    assert await worker.give_back([task]) == {task_id}
    assert await worker.retire() == 0
    result = await producer.result(task_id)
    assert result is not None
    assert (result.status, result.output) == ("cancelled", "")
    assert (await read_depth(each_client, queue)).demand == 0
    assert await DeadLetters(each_client, queue).count() == 0


async def test_a_finished_task_says_so_and_keeps_its_result(each_client: Client, queue: QueueKeys) -> None:
    producer, worker = Producer(each_client, queue), Consumer(each_client, queue, "w")
    done, dead = [(await producer.submit("x")).task_id for _ in range(2)]
    for task in await worker.claim(2):
        if task.id == done:
            await worker.complete(task, Outcome("y"), 0.1)
        else:
            await worker.fail(task, "boom", final=True)
    assert [await producer.cancel(task_id) for task_id in (done, dead)] == ["finished", "finished"]
    results = [await producer.result(task_id) for task_id in (done, dead)]
    assert [result and result.status for result in results] == ["completed", "dead"]


async def test_cancelling_twice_is_cancelling_once(client: Client, queue: QueueKeys) -> None:
    producer = Producer(client, queue)
    task_id = (await producer.submit("x")).task_id
    assert await producer.cancel(task_id) == "waiting"
    assert await producer.cancel(task_id) == "cancelled"
    [counts] = await read_counts(client, [queue])
    assert not isinstance(counts, Exception)
    assert counts.cancelled == 1


async def test_what_waits_after_a_failure_or_was_given_back_can_be_cancelled(
    each_client: Client, queue: QueueKeys
) -> None:
    producer = Producer(each_client, queue)
    worker = Consumer(each_client, queue, "w", retries=RetryPolicy(3, first_backoff=3600, longest_backoff=3600))
    ids = [(await producer.submit("x")).task_id for _ in range(3)]
    failed, refused, returned = await worker.claim(3)
    await worker.fail(failed, "boom")
    await worker.refuse(refused, "no")
    await worker.give_back([returned])
    assert [await producer.cancel(task_id) for task_id in ids] == ["waiting"] * 3
    assert await worker.claim(3) == []
    assert await each_client.exists(queue.refused) == 0


@pytest.mark.parametrize("wrong", ["1764064800000-0", "high-1764064800000-0"])
async def test_a_task_that_was_never_there_is_gone(client: Client, queue: QueueKeys, wrong: str) -> None:
    assert await Producer(client, queue).cancel(wrong) == "gone"


@pytest.mark.parametrize("wrong", ["nonsense", "1764064800000", "high-1764064800000", "01764064800000-0", "1-0\n", "-"])
async def test_what_is_no_whole_id_is_refused(client: Client, queue: QueueKeys, wrong: str) -> None:
    """Redis takes half an id for all entries of a millisecond, or for the first one."""
    await client.execute_command("XADD", queue.stream, "1764064800000-0", "prompt", "x")
    producer = Producer(client, queue)
    for act in (producer.cancel, producer.state, producer.is_queued):
        with pytest.raises(InvalidTaskId, match="is not a task id"):
            await act(wrong)
    assert (await read_depth(client, queue)).waiting == 1


async def test_statistics_that_cannot_be_written_keep_nothing_from_being_cancelled(
    client: Client, queue: QueueKeys
) -> None:
    producer = Producer(client, queue)
    task_id = (await producer.submit("x", idempotency_key="k")).task_id
    await client.hset(queue.stats, mapping={"cancelled": "many", "seen": "x"})
    assert await producer.cancel(task_id) == "waiting"
    assert (await producer.submit("x", idempotency_key="k")).is_new


async def test_with_memory_full_tasks_can_still_be_cancelled(folder: Path, queue: QueueKeys) -> None:
    with RedisServer(folder) as redis:
        client = connect(redis.url)
        producer = Producer(client, queue)
        task_id = (await producer.submit("x")).task_id
        await client.config_set("maxmemory", "1")
        with pytest.raises(RedisUnavailable, match="maxmemory"):
            await producer.submit("x")
        assert await producer.cancel(task_id) == "waiting"
        await client.aclose()


async def test_its_idempotency_key_is_free_again(client: Client, queue: QueueKeys) -> None:
    producer = Producer(client, queue)
    first = await producer.submit("x", idempotency_key="k")
    await producer.cancel(first.task_id)
    again = await producer.submit("y", idempotency_key="k")
    assert again.is_new


async def test_the_record_of_demand_has_cancelled_tasks_too(client: Client, queue: QueueKeys) -> None:
    producer, worker = Producer(client, queue), Consumer(client, queue, "w")
    await worker.claim(1)
    await worker.reclaim(0)
    ids = [(await producer.submit("x")).task_id for _ in range(3)]
    await producer.cancel(ids[0])
    await worker.reclaim(0)
    assert sum(span.arrivals for span in await read_demand(client, queue)) == 3
