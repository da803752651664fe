"""A producer for programs without an event loop."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
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
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.2)
        producer.close()
        producer.close()
        with pytest.raises(RuntimeError, match="was closed meanwhile"):
            waiting.result(timeout=30)
    with pytest.raises(RuntimeError, match="is closed"):
        producer.submit("x")


def test_no_call_and_no_second_close_hangs_on_one_that_closes(redis_server: RedisServer, queue: QueueKeys) -> None:
    def ask(producer: SyncProducer) -> str:
        while True:
            try:
                producer.result("1-0")
            except RuntimeError as error:
                return str(error)

    with ThreadPoolExecutor(6) as pool:
        for _ in range(20):
            producer = SyncProducer(redis_server.url, queue)
            asking = [pool.submit(ask, producer) for _ in range(4)]
            for closing in [pool.submit(producer.close) for _ in range(2)]:
                closing.result(timeout=30)
            assert all("closed" in one.result(timeout=30) for one in asking)


@pytest.mark.parametrize("ending", ["", "sys.exit(3)", "raise ValueError", "del producer; gc.collect()"])
def test_a_program_that_does_not_close_it_ends_all_the_same(
    redis_server: RedisServer, queue: QueueKeys, ending: str
) -> None:
    program = f"""
import gc, sys
from ark_taskqueue import QueueKeys, SyncProducer
producer = SyncProducer({redis_server.url!r}, QueueKeys.for_queue({queue.name!r}))
print(producer.submit("x").is_new)
{ending}
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.stdout, ended.returncode) == ("True\n", {"sys.exit(3)": 3, "raise ValueError": 1}.get(ending, 0))


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
