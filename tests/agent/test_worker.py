"""The worker: what it does with tasks, with failures, and when it is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from ark_agent.context import Context
from ark_agent.options import WorkLimits
from ark_taskqueue import (
    Client,
    Consumer,
    DeadLetters,
    Leases,
    Producer,
    QueueKeys,
    Result,
    connect,
    read_depth,
)
from hack.local.redis_server import RedisServer
from tests.agent.working import working
from tests.eventually import eventually
from tests.taskqueue.moving_time import end_lease


async def result_of(client: Client, queue: QueueKeys, task_id: str) -> Result:
    async with asyncio.timeout(60):
        return await Producer(client, queue).wait_for_result(task_id)


async def test_echo_answers_with_the_prompt_and_the_tokens_of_the_task(client: Client, queue: QueueKeys) -> None:
    meta = {"latency_seconds": 0.01, "input_tokens": 120, "output_tokens": 7}
    async with working(client, queue):
        submission = await Producer(client, queue).submit("hello", meta=meta)
        result = await result_of(client, queue, submission.task_id)
    assert (result.output, result.input_tokens, result.output_tokens) == ("hello", 120, 7)
    assert result.service_ms >= 10


async def test_a_failed_task_is_tried_again(client: Client, queue: QueueKeys) -> None:
    async with working(client, queue):
        submission = await Producer(client, queue).submit("x", meta={"failing_attempts": 2})
        result = await result_of(client, queue, submission.task_id)
    assert (result.status, result.attempts) == ("completed", 3)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"meta": '{"failing_attempts": 99}'}, "CallFailed: attempt 3 fails"),
        ({"meta": "no json"}, "InputRefused: meta is not JSON"),
        ({"meta": "[1]"}, "InputRefused: meta is not a JSON object"),
        ({"meta": '{"latency_seconds": -1}'}, "InputRefused: meta latency_seconds is not a number from 0: -1"),
    ],
)
async def test_a_task_that_cannot_be_done_becomes_a_dead_letter(
    client: Client, queue: QueueKeys, fields: Mapping[str, str], error: str
) -> None:
    async with working(client, queue):
        submission = await Producer(client, queue).submit("x", fields=fields)
        result = await result_of(client, queue, submission.task_id)
    assert result.status == "dead"
    assert error in result.error
    assert await DeadLetters(client, queue).count() == 1


async def test_an_attempt_that_takes_too_long_is_a_failure(client: Client, queue: QueueKeys) -> None:
    async with working(client, queue, limits=WorkLimits(task_seconds=0.05)):
        submission = await Producer(client, queue).submit("x", meta={"latency_seconds": 600})
        result = await result_of(client, queue, submission.task_id)
    assert (result.status, result.error) == ("dead", "no answer within 0.05 s")


class Counting:
    """A handler that counts how many tasks run at a time, and holds them until told."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.started: list[str] = []
        self.go_on = asyncio.Event()

    async def __call__(self, context: Context) -> str:
        """Hold the task."""
        task = context.task
        self.running += 1
        self.most = max(self.most, self.running)
        self.started.append(task.id)
        try:
            await self.go_on.wait()
        finally:
            self.running -= 1
        return "done"


async def test_no_more_tasks_are_taken_than_may_run(client: Client, queue: QueueKeys) -> None:
    handler = Counting()
    async with working(client, queue, handler, limits=WorkLimits(concurrent_tasks=3)):
        for _ in range(10):
            await Producer(client, queue).submit("x")
        await eventually(lambda: handler.running == 3, "three running tasks")
        depth = await read_depth(client, queue)
        assert (depth.waiting, depth.in_flight) == (7, 3)
        handler.go_on.set()
        await eventually(lambda: len(handler.started) == 10, "all tasks")
    assert handler.most == 3


async def test_an_urgent_task_starts_before_ten_thousand_that_wait(client: Client, queue: QueueKeys) -> None:
    async with client.pipeline(transaction=False) as pipeline:
        for _ in range(10_000):
            pipeline.execute_command("XADD", queue.stream_of("low"), "*", "prompt", "x")
        await pipeline.execute()
    started: list[str] = []
    go_on = asyncio.Semaphore(0)

    async def handler(context: Context) -> str:
        started.append(context.task.id)
        await go_on.acquire()
        return "done"

    async with working(client, queue, handler, limits=WorkLimits(concurrent_tasks=5)):
        await eventually(lambda: len(started) == 5, "five running tasks")
        urgent = (await Producer(client, queue).submit("x", priority="high")).task_id
        go_on.release()
        await eventually(lambda: len(started) == 6, "a task in the free slot")
        go_on.release()
        await eventually(lambda: len(started) == 7, "a further one")
        for _ in range(5):
            go_on.release()
        assert urgent in started[5:7], "at worst after one whose turn it was"
        go_on.release()


async def test_workers_of_one_task_each_take_lower_ones_too(client: Client, queue: QueueKeys) -> None:
    """As in the Jobs of a ScaledJob: the first claim may be a lower one's turn."""
    producer = Producer(client, queue)
    started: list[str] = []

    async def handler(context: Context) -> str:
        started.append(context.task.priority)
        return "done"

    limits, first = WorkLimits(concurrent_tasks=1, lower_priority_share=0.5), []
    for number in range(20):
        await producer.submit("x", priority="high")
        await producer.submit("x", priority="low")
        started.clear()
        async with working(client, queue, handler, name=f"w{number}", limits=limits):
            await eventually(lambda: bool(started), "the first task")
        first.append(started[0])
    assert set(first) == {"high", "low"}, "with a share of a half, one run in 500,000 has all of one kind"


async def test_lower_tasks_in_flight_elsewhere_keep_no_urgent_one_waiting(client: Client, queue: QueueKeys) -> None:
    producer, elsewhere = Producer(client, queue), Consumer(client, queue, "elsewhere")
    await producer.submit("x")
    await producer.submit("x", priority="low")
    assert len(await elsewhere.claim(2)) == 2
    handler = Counting()
    handler.go_on.set()
    async with working(client, queue, handler, limits=WorkLimits(concurrent_tasks=10)):
        for number in range(3):
            await producer.submit("x", priority="high")
            await eventually(lambda: len(handler.started) > number, f"the urgent task, time {number + 1}")  # noqa: B023
            await asyncio.sleep(0.3)


async def test_on_stop_running_tasks_finish_within_the_grace_period(client: Client, queue: QueueKeys) -> None:
    handler = Counting()
    async with working(client, queue, handler, limits=WorkLimits(concurrent_tasks=2, grace_seconds=60)) as worker:
        for _ in range(3):
            await Producer(client, queue).submit("x")
        await eventually(lambda: handler.running == 2, "two running tasks")
        worker.stop()
        await asyncio.sleep(0.05)
        handler.go_on.set()
    depth = await read_depth(client, queue)
    assert (depth.waiting, depth.in_flight) == (1, 0)
    assert len(handler.started) == 2, "a task was taken after the stop"
    assert await client.xinfo_consumers(queue.stream, queue.group) == []


async def test_what_does_not_finish_in_time_is_given_back_in_its_place_and_is_no_attempt(
    client: Client, queue: QueueKeys
) -> None:
    handler = Counting()
    ids = [(await Producer(client, queue).submit("x")).task_id for _ in range(3)]
    async with working(client, queue, handler, limits=WorkLimits(concurrent_tasks=2, grace_seconds=0.05)):
        await eventually(lambda: handler.running == 2, "two running tasks")
    tasks = await Consumer(client, queue, "next").claim(3)
    assert [(task.id, task.attempt) for task in tasks] == [(task_id, 1) for task_id in ids]


async def test_a_task_longer_than_the_lease_does_not_run_twice(client: Client, queue: QueueKeys) -> None:
    handler = Counting()
    leases = Leases(seconds=0.4)
    async with (
        working(client, queue, handler, name="one", leases=leases),
        working(client, queue, handler, name="two", leases=leases),
    ):
        submission = await Producer(client, queue).submit("x")
        await eventually(lambda: bool(handler.started), "the start of the task")
        claimed = (await client.time())[0]

        async def looked_at_for_long() -> bool:
            return float(await client.hget(queue.stats, "reclaimed_at_ms") or 0) / 1000 > claimed + 3

        await eventually(looked_at_for_long, "a look for dead workers' tasks more than six leases later")
        handler.go_on.set()
        result = await result_of(client, queue, submission.task_id)
    assert handler.started == [submission.task_id]
    assert result.attempts == 1


async def test_a_task_that_went_to_another_worker_is_dropped(client: Client, queue: QueueKeys) -> None:
    handler = Counting()
    async with working(client, queue, handler, leases=Leases(seconds=0.6)):
        submission = await Producer(client, queue).submit("x")
        await eventually(lambda: handler.running == 1, "the running task")
        await client.xclaim(queue.stream, queue.group, "thief", 0, [submission.task_id])
        await eventually(lambda: handler.running == 0, "the drop of the lost task")
        assert await Producer(client, queue).result(submission.task_id) is None


async def test_work_goes_on_after_redis_was_away(folder: Path, queue: QueueKeys) -> None:
    with RedisServer(folder, persistent=True) as redis:
        client = connect(redis.url, timeout=2)
        handler = Counting()
        producer = Producer(client, queue)
        async with working(client, queue, handler, limits=WorkLimits(concurrent_tasks=1)):
            first = await producer.submit("x")
            second = await producer.submit("x")
            await eventually(lambda: handler.running == 1, "the running task")
            redis.kill()
            handler.go_on.set()  # its end cannot be reported now
            await asyncio.sleep(0.3)
            redis.start()
            for submission in (first, second):
                assert (await result_of(client, queue, submission.task_id)).attempts == 1
        await client.aclose()


async def test_an_outage_longer_than_the_lease_neither_crashes_the_worker_nor_doubles_its_tasks(
    client: Client, queue: QueueKeys
) -> None:
    """The worker's own reclaim took its running tasks for a dead worker's, and it claimed them a second time."""
    handler = Counting()
    leases = Leases(seconds=60)
    async with working(client, queue, handler, limits=WorkLimits(concurrent_tasks=3), leases=leases):
        submission = await Producer(client, queue).submit("x")
        await eventually(lambda: handler.running == 1, "the running task")
        for _ in range(4):
            await end_lease(client, queue, submission.task_id, 61)
            await asyncio.sleep(0.6)
        handler.go_on.set()
        assert (await result_of(client, queue, submission.task_id)).attempts == 1
    assert handler.started == [submission.task_id]


class Odd:
    """A handler whose answers and errors cannot be written down as they are."""

    async def __call__(self, context: Context) -> object:
        """Answer or fail oddly."""
        if context.task.prompt == "error":
            raise ValueError("lone surrogate \ud800")
        return "lone surrogate \ud800" if context.task.prompt == "text" else object()


async def test_odd_answers_and_errors_end_their_task_and_not_the_worker(client: Client, queue: QueueKeys) -> None:
    async with working(client, queue, Odd()):
        producer = Producer(client, queue)
        ids = [(await producer.submit(prompt)).task_id for prompt in ("error", "object", "text")]
        await client.execute_command("XADD", queue.stream, "*", "prompt", "text", "attempt", "9" * 5000)
        results = [await result_of(client, queue, task_id) for task_id in ids]
    assert [result.status for result in results] == ["dead", "dead", "completed"]
    assert "ud800" in results[0].error
    assert "ud800" in results[2].output
    assert (await read_depth(client, queue)).demand == 0
