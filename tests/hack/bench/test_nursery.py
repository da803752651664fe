"""The nursery of the trace benchmark: its workers do tasks, end when they are told, and never outlive their Pod."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ark_taskqueue import Client, Producer, QueueKeys
from hack.bench.trace import pod
from hack.bench.trace.worker import NOTES
from hack.local.process import ChildProcess, free_port
from hack.local.redis_server import RedisServer
from tests.eventually import eventually

QUEUE = QueueKeys.for_agent("bench", "pool")


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[tuple[Path, ChildProcess]]:
    socket = tmp_path / "n"
    command = [sys.executable, "-m", "hack.bench.trace.nursery", str(socket), "0.5"]
    with ChildProcess(command, tmp_path / "nursery.log") as process:
        process.wait_until(lambda: "ready" in process.output(), 30, "the nursery")
        yield socket, process


def born(socket: Path, redis: RedisServer, folder: Path) -> ChildProcess:
    environment = {
        "AGENT_REDIS": redis.url,
        "AGENT_QUEUE": QUEUE.name,
        "AGENT_HOST": "127.0.0.1",
        "AGENT_HTTP_PORT": str(free_port()),
    }
    command = [sys.executable, "-I", "-S", str(pod.__file__), str(socket)]
    return ChildProcess(command, folder / "pod.log", environment=environment)


async def test_a_worker_does_tasks_and_ends_in_order(
    nursery: tuple[Path, ChildProcess], redis_server: RedisServer, client: Client, tmp_path: Path
) -> None:
    producer = Producer(client, QUEUE)
    with born(nursery[0], redis_server, tmp_path) as one:
        submission = await producer.submit("hello")
        async with asyncio.timeout(30):
            assert (await producer.wait_for_result(submission.task_id)).output == "hello"
        assert await client.xlen(NOTES) == 2
        one.send(signal.SIGTERM)
        assert await asyncio.to_thread(one.wait, 20) == 0, one.output()
        assert "stopping" in one.output(), "what a worker says is its Pod's log"


async def test_a_worker_does_not_outlive_its_pod(
    nursery: tuple[Path, ChildProcess], redis_server: RedisServer, client: Client, tmp_path: Path
) -> None:
    def workers() -> int:
        return len(psutil.Process(nursery[1].pid).children(recursive=True))

    producer = Producer(client, QUEUE)
    with born(nursery[0], redis_server, tmp_path) as one:
        submission = await producer.submit("hello")
        async with asyncio.timeout(30):
            await producer.wait_for_result(submission.task_id)
        assert workers() >= 2
        one.kill()

        async def gone() -> bool:
            return workers() == 0

        await eventually(gone, "the end of the worker", 20, every=0.1)
