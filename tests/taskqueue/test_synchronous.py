"""A producer for programs without an event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ark_taskqueue import Consumer, Outcome, QueueFull, QueueKeys, RedisUnavailable, connect
from ark_taskqueue.synchronous import SyncProducer
from hack.local.redis_server import RedisServer


@pytest.fixture
def producer(redis_server: RedisServer, queue: QueueKeys) -> Iterator[SyncProducer]:
    with SyncProducer(redis_server.url, queue, max_depth=20) as producer:
        yield producer


async def work(url: str, queue: QueueKeys, count: int) -> None:
    """Complete so many tasks."""
    client = connect(url)
    worker = Consumer(client, queue, "w")
    while count > 0:
        for task in await worker.claim(count):
            await worker.complete(task, Outcome(f"done: {task.prompt}"), 0.1)
            count -= 1
    await client.aclose()


def test_many_threads_submit_and_wait(redis_server: RedisServer, queue: QueueKeys, producer: SyncProducer) -> None:
    def ask(number: int) -> str:
        submission = producer.submit(f"task {number}", priority="high" if number % 2 else "normal")
        return producer.wait_for_result(submission.task_id, timeout=60).output

    working = threading.Thread(target=lambda: asyncio.run(work(redis_server.url, queue, 16)))
    working.start()
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(16))) == [f"done: task {number}" for number in range(16)]
    working.join()


def test_the_same_key_is_one_task_and_a_full_queue_says_so(producer: SyncProducer) -> None:
    first = producer.submit("x", idempotency_key="k")
    assert producer.submit("x", idempotency_key="k").task_id == first.task_id
    for _ in range(19):
        producer.submit("x")
    with pytest.raises(QueueFull):
        producer.submit("x")
    assert producer.result(first.task_id) is None


def test_a_wait_ends_in_time(producer: SyncProducer) -> None:
    with pytest.raises(TimeoutError):
        producer.wait_for_result(producer.submit("x").task_id, timeout=0.05)


def test_closing_ends_what_others_wait_for_and_may_be_repeated(producer: SyncProducer) -> None:
    task_id = producer.submit("x").task_id
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(producer.wait_for_result, task_id)
        while not waiting.running():
            pass
        producer.close()
        producer.close()
        assert waiting.exception(timeout=30) is not None
    with pytest.raises(RuntimeError, match="is closed"):
        producer.submit("x")


def test_after_a_fork_it_says_what_is_wrong_and_does_not_hang(producer: SyncProducer) -> None:
    child = os.fork()
    if child == 0:
        try:
            producer.submit("x")
        except RuntimeError as error:
            os._exit(0 if "before a fork" in str(error) else 2)
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert producer.submit("x").is_new


def test_no_redis_is_an_error(queue: QueueKeys) -> None:
    with SyncProducer("redis://127.0.0.1:1", queue, timeout=0.5) as producer, pytest.raises(RedisUnavailable):
        producer.submit("x")
