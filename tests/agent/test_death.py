"""A worker's death costs an attempt of the task that caused it, and of no other.

The story: a task that killed its worker took four innocent ones to the dead letters, since each of its workers' deaths
counted for all that the worker held.
"""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

from ark_taskqueue import Client, DeadLetters, Producer, QueueKeys, read_depth
from hack.local.process import ChildProcess, free_port
from hack.local.redis_server import RedisServer
from tests.agent.test_program import agent, get, in_flight, result_of
from tests.eventually import eventually

HANDLER = """
import asyncio, os, sys, time
import ark_agent


async def handle(context: ark_agent.Context) -> str:
    kind = context.task.prompt
    if kind == "kill":
        await asyncio.sleep(0.3)
        os._exit(1)
    if kind == "thread":
        await asyncio.to_thread(time.sleep, 60)
    if kind == "block":
        time.sleep(float(context.task.fields["seconds"]))
    while kind == "stubborn":
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
    await asyncio.sleep(0.6)
    return str(context.task.attempt)


ark_agent.run(handle)
"""


def handling(folder: Path, redis: RedisServer, **settings: object) -> ChildProcess:
    script = folder / "handler.py"
    script.write_text(HANDLER)
    return agent(folder, redis, "one", program=(str(script),), **settings)


async def test_only_the_task_that_kills_its_worker_uses_up_attempts(
    redis_server: RedisServer, client: Client, queue: QueueKeys, folder: Path
) -> None:
    producer = Producer(client, queue)
    innocent = [(await producer.submit("good")).task_id for _ in range(2)]
    culprit = (await producer.submit("kill")).task_id
    innocent += [(await producer.submit("good")).task_id for _ in range(2)]
    deaths = 0
    async with asyncio.timeout(100):
        while await producer.result(culprit) is None:
            # As a kubelet does: the container again, with the Pod's name.
            with handling(folder, redis_server, lease_seconds=1, max_retries=2) as process:

                async def is_over(process: ChildProcess = process) -> bool:
                    return process.exit_code is not None or await producer.result(culprit) is not None

                await eventually(is_over, "the end of a worker, or of the task", 60, every=0.05)
                deaths += process.exit_code is not None
        with handling(folder, redis_server, lease_seconds=1, max_retries=2):
            for task_id in innocent:
                result = await result_of(client, queue, task_id)
                assert (result.status, result.attempts, result.output) == ("completed", 1, "1")
    dead = await result_of(client, queue, culprit)
    assert (dead.status, dead.attempts) == ("dead", 2)
    assert "its worker died" in dead.error
    assert await DeadLetters(client, queue).count() == 1
    assert deaths == 3, "once among others, and as often as a task may fail alone"


async def ends_within(process: ChildProcess, seconds: float) -> float:
    """Wait for a process's end; return how long it took, seconds."""
    began = time.monotonic()
    await eventually(lambda: process.exit_code is not None, "the end of the process", seconds)
    return time.monotonic() - began


async def test_neither_a_thread_nor_a_stubborn_handler_outlives_the_grace_period_for_long(
    redis_server: RedisServer, client: Client, queue: QueueKeys, folder: Path
) -> None:
    for kind in ("thread", "stubborn", "block"):
        redis_server.command("FLUSHALL")
        await Producer(client, queue).submit(kind, fields={"seconds": "60"})
        with handling(folder, redis_server, grace_seconds=1) as process:
            await in_flight(client, queue, 1)
            await asyncio.sleep(0.5)  # the handler is in its thread
            process.send(signal.SIGTERM)
            took = await ends_within(process, 60)
        print(f"{kind}: ended {took:.1f} s after SIGTERM, with a grace period of 1 s")
        if kind != "block":  # what blocks the loop ends with the process, and goes to others after its lease
            depth = await read_depth(client, queue)
            assert (depth.waiting, depth.in_flight) == (1, 0), f"the task of kind {kind} was not given back"


async def test_a_blocked_worker_answers_its_probe_and_keeps_its_leases(
    redis_server: RedisServer, client: Client, queue: QueueKeys, folder: Path
) -> None:
    producer, port = Producer(client, queue), free_port()
    with handling(folder, redis_server, lease_seconds=1, http_port=port) as process:
        slow = await producer.submit("block", fields={"seconds": "4"})
        quick = await producer.submit("good")
        await in_flight(client, queue, 2)
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            assert await get(port, "/healthz") == (200, "ok\n")
            await asyncio.sleep(0.2)
        for submission in (slow, quick):
            result = await result_of(client, queue, submission.task_id)
            assert (result.status, result.output) == ("completed", "1")
        assert "a handler blocks the event loop" in process.output()
        assert '"handle (handler.py:' in process.output()
