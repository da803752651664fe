"""Tasks of high, normal and low priority: three streams, one queue."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import cast

import pytest

from ark_taskqueue import (
    PRIORITIES,
    Client,
    Consumer,
    DeadLetters,
    Leases,
    NotAStream,
    Outcome,
    Priority,
    Producer,
    QueueFull,
    QueueKeys,
    read_depth,
)
from ark_taskqueue.priority import entry_of, id_of, priority_of
from tests.taskqueue.moving_time import end_lease

LEASE = 60.0


async def submit(client: Client, queue: QueueKeys, *priorities: Priority) -> list[str]:
    producer = Producer(client, queue)
    return [(await producer.submit("x", priority=priority)).task_id for priority in priorities]


@pytest.mark.parametrize(
    ("priority", "entry", "task_id"),
    [("high", "1-0", "high-1-0"), ("normal", "1-0", "1-0"), ("low", "1-0", "low-1-0"), ("normal", "highly", "highly")],
)
def test_an_id_says_where_its_task_is(priority: Priority, entry: str, task_id: str) -> None:
    assert id_of(priority, entry) == task_id
    assert (priority_of(task_id), entry_of(task_id)) == (priority, entry)


async def test_higher_priorities_are_taken_first_and_each_in_its_order(each_client: Client, queue: QueueKeys) -> None:
    low, normal, high, high_too = await submit(each_client, queue, "low", "normal", "high", "high")
    worker = Consumer(each_client, queue, "w")
    assert [task.id for task in await worker.claim(2)] == [high, high_too]
    assert [task.id for task in await worker.claim(2)] == [normal, low]


async def test_a_lower_priority_may_come_first_for_once(each_client: Client, queue: QueueKeys) -> None:
    low, normal, high = await submit(each_client, queue, "low", "normal", "high")
    worker = Consumer(each_client, queue, "w")
    assert [task.id for task in await worker.claim(1, order=("low", "normal", "high"))] == [low]
    assert worker.used == ["high", "normal", "low"]
    assert [task.id for task in await worker.claim(3)] == [high, normal]


async def test_a_suspect_is_only_for_a_worker_that_holds_nothing_of_any_priority(
    each_client: Client, queue: QueueKeys
) -> None:
    dying, busy, idle = (Consumer(each_client, queue, name, leases=Leases(LEASE)) for name in ("dying", "busy", "idle"))
    for task_id in await submit(each_client, queue, "low", "low"):
        assert await dying.claim(1)
        await end_lease(each_client, queue, task_id, LEASE)
    await busy.reclaim(0)
    await submit(each_client, queue, "high")
    assert [task.alone for task in await busy.claim(1)] == [True], "a suspect first"
    assert [task.priority for task in await busy.claim(1, order=("low", "normal", "high"))] == ["high"]
    assert [task.alone for task in await idle.claim(1)] == [True]


async def test_what_is_no_priority_is_refused(client: Client, queue: QueueKeys) -> None:
    with pytest.raises(ValueError, match="'urgent', not one of high, normal, low"):
        await Producer(client, queue).submit("x", priority=cast("Priority", "urgent"))


async def test_equal_entry_ids_of_two_priorities_are_two_tasks(each_client: Client, queue: QueueKeys) -> None:
    for stream in queue.streams:
        await each_client.execute_command("XADD", stream, "1764064800000-0", "prompt", stream)
    worker, producer = Consumer(each_client, queue, "w"), Producer(each_client, queue)
    tasks = await worker.claim(3)
    assert [task.id for task in tasks] == ["high-1764064800000-0", "1764064800000-0", "low-1764064800000-0"]
    high, normal, low = tasks
    assert await worker.complete(high, Outcome("high"), 0.1)
    assert (await worker.fail(normal, "boom", final=True)).outcome == "dead"
    assert await producer.is_queued(low.id)
    assert not await producer.is_queued(high.id)
    results = [await producer.result(task.id) for task in tasks]
    assert [result.status if result else None for result in results] == ["completed", "dead", None]
    [letter] = await DeadLetters(each_client, queue).list()
    assert letter.task_id == normal.id
    assert high.submitted_at_ms == low.submitted_at_ms == 1764064800000


@pytest.mark.parametrize("priority", PRIORITIES)
async def test_a_waiting_worker_is_woken_by_any_priority(
    each_client: Client, queue: QueueKeys, priority: Priority
) -> None:
    worker = Consumer(each_client, queue, "w")
    await submit(each_client, queue, *PRIORITIES)
    for task in await worker.claim(3):
        await worker.complete(task, Outcome("y"), 0.1)
    assert await worker.claim(1) == []
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        waiting = group.create_task(worker.wait_for_new(1, 20))
        [task_id] = await submit(each_client, queue, priority)
    assert [task.id for task in waiting.result()] == [task_id]


async def test_a_wait_takes_no_more_tasks_than_were_asked_for(each_client: Client, queue: QueueKeys) -> None:
    worker = Consumer(each_client, queue, "w")
    await submit(each_client, queue, *PRIORITIES)
    held = await worker.claim(3)
    high, normal, low = await submit(each_client, queue, *PRIORITIES)
    [task] = await worker.wait_for_new(1, 5)
    assert task.id == high
    depth = await read_depth(each_client, queue)
    assert (depth.waiting, depth.in_flight) == (2, len(held) + 1)
    again = await worker.claim(2)
    assert [(task.id, task.attempt) for task in again] == [(normal, 1), (low, 1)], "given back, and no attempt"


async def test_refused_tasks_that_have_waited_for_long_stay_behind_higher_ones(
    client: Client, queue: QueueKeys
) -> None:
    worker = Consumer(client, queue, "w")
    ids = await submit(client, queue, "low", "low")
    for task in await worker.claim(2):
        await worker.refuse(task, "no", "never")
    for task_id in ids:
        await end_lease(client, queue, task_id, 3600)
    [high] = await submit(client, queue, "high")
    assert [task.id for task in await worker.claim(2)] == [high, ids[0]]


async def test_a_requeued_urgent_task_keeps_versions_away_that_know_no_priorities(
    client: Client, queue: QueueKeys
) -> None:
    worker = Consumer(client, queue, "w")
    await submit(client, queue, "high")
    [task] = await worker.claim(1)
    await worker.fail(task, "boom", final=True)
    await client.delete(queue.stats)
    assert await DeadLetters(client, queue).requeue_all() == 1
    assert await client.hget(queue.stats, "format") == b"2"


@pytest.mark.parametrize("priority", PRIORITIES)
async def test_a_key_that_is_no_stream_is_named(each_client: Client, queue: QueueKeys, priority: Priority) -> None:
    await each_client.set(queue.stream_of(priority), "text")
    with pytest.raises(NotAStream, match=rf"key {re.escape(queue.stream_of(priority))} is not a stream"):
        await read_depth(each_client, queue)


async def test_depth_counts_all_priorities(each_client: Client, queue: QueueKeys) -> None:
    await each_client.execute_command("XADD", queue.stream_of("low"), "1000-0", "prompt", "very old")
    assert (await read_depth(each_client, queue)).waiting == 1, "the normal stream is not there yet"
    await submit(each_client, queue, "normal", "high", "high", "low")
    depth = await read_depth(each_client, queue)
    assert (depth.waiting, depth.length, depth.exact) == (5, 5, True)
    assert depth.oldest_waiting_ms > 1e12, "the low one is from 1970"
    await Consumer(each_client, queue, "w").claim(3)
    depth = await read_depth(each_client, queue)
    assert (depth.waiting, depth.in_flight, depth.watch_after) == (2, 3, None)


async def test_a_queue_is_full_of_tasks_that_are_as_urgent_and_no_others(client: Client, queue: QueueKeys) -> None:
    producer = Producer(client, queue, max_depth=3)
    for priority in ("low", "normal", "low"):
        await producer.submit("x", priority=priority)
    with pytest.raises(QueueFull):
        await producer.submit("x", priority="low")
    await producer.submit("x", priority="high")
    await producer.submit("x")
    with pytest.raises(QueueFull):
        await producer.submit("x")
    await producer.submit("x", priority="high")


async def test_an_idempotency_key_names_one_task_whatever_its_priority(client: Client, queue: QueueKeys) -> None:
    producer = Producer(client, queue)
    first = await producer.submit("x", idempotency_key="k", priority="low")
    again = await producer.submit("x", idempotency_key="k", priority="high")
    assert (again.task_id, again.is_new) == (first.task_id, False)


async def test_a_worker_that_dies_with_tasks_of_two_priorities_died_of_neither_alone(
    each_client: Client, queue: QueueKeys
) -> None:
    ids = await submit(each_client, queue, "high", "low")
    dying, other = (Consumer(each_client, queue, name, leases=Leases(LEASE)) for name in ("dying", "other"))
    assert len(await dying.claim(2)) == 2
    for task_id in ids:
        await end_lease(each_client, queue, task_id, LEASE)
    reclaimed = await other.reclaim(0)
    assert reclaimed is not None
    assert (reclaimed.expired, reclaimed.buried) == (2, 0)
    [suspect] = await other.claim(5)
    assert (suspect.id, suspect.alone, suspect.attempt) == (ids[0], True, 1)


async def test_a_worker_that_retires_leaves_nothing_in_any_stream(each_client: Client, queue: QueueKeys) -> None:
    await submit(each_client, queue, *PRIORITIES)
    worker = Consumer(each_client, queue, "w")
    assert len(await worker.claim(3)) == 3
    assert await worker.retire() == 3
    for stream in queue.streams:
        names = [consumer["name"] for consumer in await each_client.xinfo_consumers(stream, queue.group)]
        assert names == [b"ark:ready"]


@pytest.mark.parametrize("used", [("normal",), ("high", "normal"), PRIORITIES])
async def test_a_queue_has_only_the_streams_that_it_uses(
    each_client: Client, queue: QueueKeys, used: Sequence[Priority]
) -> None:
    await submit(each_client, queue, *used)
    worker = Consumer(each_client, queue, "w")
    await worker.claim(3)
    await worker.reclaim(0)
    there = [stream for stream in queue.streams if await each_client.execute_command("EXISTS", stream)]
    assert there == [queue.stream_of(priority) for priority in used]
