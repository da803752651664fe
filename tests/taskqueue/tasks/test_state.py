"""Where a task is, in one call."""

from __future__ import annotations

from ark_taskqueue import (
    Client,
    Consumer,
    Leases,
    Outcome,
    Priority,
    Producer,
    QueueKeys,
    RetryPolicy,
    TaskState,
)
from tests.taskqueue.moving_time import end_lease

LEASE = 60.0


async def submitted(producer: Producer, *priorities: Priority) -> list[str]:
    return [(await producer.submit("x", priority=priority)).task_id for priority in priorities]


async def test_a_waiting_task_knows_how_many_are_ahead(each_client: Client, queue: QueueKeys) -> None:
    producer, worker = Producer(each_client, queue), Consumer(each_client, queue, "w")
    ids = await submitted(producer, "normal", "low", "normal", "high", "low")

    async def ahead() -> list[int | None]:
        return [(await producer.state(task_id)).ahead for task_id in ids]

    assert await ahead() == [1, 3, 2, 0, 4], "before any worker has come"
    high, first = await worker.claim(2)
    assert (high.id, first.id) == (ids[3], ids[0])
    assert await ahead() == [None, 1, 0, None, 2], "two of them run"
    await worker.give_back([high, first])
    assert await ahead() == [1, 3, 2, 0, 4], "each is where it was"


async def test_one_behind_very_many_does_not_know_how_many(client: Client, queue: QueueKeys) -> None:
    producer = Producer(client, queue)
    async with client.pipeline(transaction=False) as pipeline:
        for _ in range(250):
            pipeline.execute_command("XADD", queue.stream, "*", "prompt", "x")
        await pipeline.execute()
    [last] = await submitted(producer, "normal")
    assert await producer.state(last) == TaskState(last, "waiting", ahead=None)
    [low] = await submitted(producer, "low")
    assert (await producer.state(low)).ahead == 251, "those of other priorities are not read"


async def test_a_running_task_says_where(each_client: Client, queue: QueueKeys) -> None:
    producer, worker = Producer(each_client, queue), Consumer(each_client, queue, "writer-0")
    [task_id] = await submitted(producer, "high")
    [task] = await worker.claim(1)
    await worker.give_back([task])
    assert await worker.claim(1)
    state = await producer.state(task_id)
    assert (state.status, state.worker, state.deliveries) == ("running", "writer-0", 1)
    assert state.renewed_seconds is not None
    assert 0 <= state.renewed_seconds < 30


async def test_a_failed_task_says_when_it_is_tried_again(each_client: Client, queue: QueueKeys) -> None:
    producer = Producer(each_client, queue)
    worker = Consumer(each_client, queue, "w", retries=RetryPolicy(3, first_backoff=1000, longest_backoff=1000))
    [task_id] = await submitted(producer, "normal")
    [task] = await worker.claim(1)
    await worker.fail(task, "boom")
    state = await producer.state(task_id)
    assert (state.status, state.deliveries) == ("backoff", 1)
    assert state.due_seconds is not None
    assert 400 < state.due_seconds <= 1000


async def test_refused_and_suspected_tasks_wait_behind_an_unknown_number(each_client: Client, queue: QueueKeys) -> None:
    producer, worker = Producer(each_client, queue), Consumer(each_client, queue, "w", leases=Leases(LEASE))
    refused, suspect = await submitted(producer, "normal", "normal")
    [task] = await worker.claim(1)
    await worker.refuse(task, "no")
    [task] = await worker.claim(1, refused=False)
    await end_lease(each_client, queue, suspect, LEASE)
    await Consumer(each_client, queue, "other", leases=Leases(LEASE)).reclaim(0)
    assert await producer.state(refused) == TaskState(refused, "waiting", ahead=None)
    assert await producer.state(suspect) == TaskState(suspect, "waiting", ahead=None, deliveries=1)


async def test_a_finished_task_has_its_result(each_client: Client, queue: QueueKeys) -> None:
    producer, worker = Producer(each_client, queue), Consumer(each_client, queue, "w")
    done, dead, cancelled = await submitted(producer, "normal", "normal", "normal")
    for task in await worker.claim(2):
        if task.id == done:
            await worker.complete(task, Outcome("y"), 0.1)
        else:
            await worker.fail(task, "boom", final=True)
    await producer.cancel(cancelled)
    states = [await producer.state(task_id) for task_id in (done, dead, cancelled)]
    assert [state.status for state in states] == ["completed", "dead", "cancelled"]
    assert [state.result for state in states] == [await producer.result(state.task_id) for state in states]
    assert states[0].result is not None
    assert states[0].result.output == "y"


async def test_a_task_that_was_never_there_is_gone(each_client: Client, queue: QueueKeys) -> None:
    state = await Producer(each_client, queue).state("low-1764064800000-0")
    assert state == TaskState("low-1764064800000-0", "gone")
