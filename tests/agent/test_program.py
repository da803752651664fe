"""The worker as a process: its endpoint, its signals, its death, and a handler of one's own."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ark_taskqueue import Client, Producer, QueueKeys, Result, TokenLedger, read_depth
from ark_taskqueue.ledger.budget import Budget
from hack.local.process import ChildProcess, free_port
from hack.local.redis_server import RedisServer
from tests.eventually import eventually

HANDLER = """
import ark_agent


async def shout(context: ark_agent.Context) -> str:
    text = context.task.fields["text"]
    reply = await context.call(f"Repeat: {text}")
    return reply.text.upper()


ark_agent.run(shout)
"""


def agent(
    folder: Path, redis: RedisServer, name: str, *, program: tuple[str, ...] = (), **settings: Any
) -> ChildProcess:
    """Start a worker; underscores in the settings' names stand for hyphens, None for a flag without a value."""
    given = {"redis": redis.url, "queue": "default/writer", "name": name, "host": "127.0.0.1", "http_port": 0}
    named = {f"--{flag.replace('_', '-')}": value for flag, value in {**given, **settings}.items()}
    flags = [flag if value is None else f"{flag}={value}" for flag, value in named.items()]
    command = [sys.executable, *(program or ("-m", "ark_agent")), *flags]
    return ChildProcess(command, folder / f"{name}.log", environment={"ANTHROPIC_API_KEY": "", "POD_NAME": ""})


async def result_of(client: Client, queue: QueueKeys, task_id: str) -> Result:
    async with asyncio.timeout(60):
        return await Producer(client, queue).wait_for_result(task_id)


async def in_flight(client: Client, queue: QueueKeys, tasks: int) -> None:
    async def so_many() -> bool:
        return (await read_depth(client, queue)).in_flight == tasks

    await eventually(so_many, f"{tasks} tasks in flight")


async def get(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as response:
        return response.status, await response.text()


async def test_its_endpoint_tells_of_tasks_tokens_and_the_budget(
    redis_server: RedisServer, client: Client, queue: QueueKeys, folder: Path
) -> None:
    port = free_port()
    settings: dict[str, Any] = {"http_port": port, "daily_token_limit": 20_000, "max_tokens": 1000}
    with agent(folder, redis_server, "one", **settings):
        submission = await Producer(client, queue).submit("x", meta={"input_tokens": 120, "output_tokens": 30})
        await result_of(client, queue, submission.task_id)
        await Producer(client, queue).submit("x", meta={"latency_seconds": 60})
        await in_flight(client, queue, 1)
        assert await get(port, "/healthz") == (200, "ok\n")
        assert await get(port, "/readyz") == (200, "ok\n")
        _, metrics = await get(port, "/metrics")
    for line in (
        'ark_agent_tasks_total{outcome="completed"} 1.0',
        'ark_agent_tasks_total{outcome="dead"} 0.0',
        'ark_agent_tokens_total{kind="input"} 120.0',
        'ark_agent_tokens_total{kind="output"} 30.0',
        'ark_agent_llm_calls_total{outcome="answered"} 1.0',
        'ark_agent_llm_calls_total{outcome="busy"} 0.0',
        "ark_agent_tasks_in_flight 1.0",
        "ark_agent_task_slots 5.0",
        "ark_agent_budget_tokens 20000.0",
        "ark_agent_budget_left_tokens 18850.0",
        "ark_agent_taking_tasks 1.0",
        "ark_agent_task_wait_seconds_count 2.0",
        "ark_agent_task_run_seconds_count 1.0",
    ):
        assert line in metrics.splitlines()


async def test_it_is_not_ready_while_redis_does_not_answer(folder: Path, queue: QueueKeys) -> None:
    port = free_port()
    with RedisServer(folder, persistent=True) as redis:
        redis.kill()
        with agent(folder, redis, "one", http_port=port):

            async def says(text: str) -> bool:
                try:
                    return text in (await get(port, "/readyz"))[1]
                except aiohttp.ClientError:
                    return False

            await eventually(lambda: says("cannot"), "the reason why it is not ready")
            redis.start()
            await eventually(lambda: says("ok"), "the ready worker")


async def test_a_handler_of_ones_own_is_a_few_lines(
    redis_server: RedisServer, client: Client, queue: QueueKeys, folder: Path
) -> None:
    script = folder / "shouting.py"
    script.write_text(HANDLER)
    with agent(folder, redis_server, "one", program=(str(script),)):
        producer = Producer(client, queue)
        good = await producer.submit(fields={"text": "hello"}, meta={"input_tokens": 9, "output_tokens": 4})
        bad = await producer.submit("no text", meta={"input_tokens": 9})
        result = await result_of(client, queue, good.task_id)
        assert (result.output, result.input_tokens, result.output_tokens) == ("REPEAT: HELLO", 9, 4)
        depth = await read_depth(client, queue)
        assert depth.demand == 1, "the other one is tried again"
        assert await producer.result(bad.task_id) is None
    assert (await TokenLedger(client, queue).usage(Budget(None, 1))).total == 13


async def test_told_to_stop_it_finishes_its_five_tasks_starts_nothing_and_ends_with_zero(
    redis_server: RedisServer, client: Client, queue: QueueKeys, folder: Path
) -> None:
    producer = Producer(client, queue)
    with agent(folder, redis_server, "one", max_concurrent_tasks=5, grace_seconds=60) as process:
        running = [await producer.submit("x", meta={"latency_seconds": 3}) for _ in range(5)]
        await in_flight(client, queue, 5)
        process.send(signal.SIGTERM)
        await eventually(lambda: "stopping" in process.output(), "the worker that heeds the signal")
        later = await producer.submit("x")
        assert await asyncio.to_thread(process.wait, 60) == 0
        for submission in running:
            result = await producer.result(submission.task_id)
            assert result is not None
            assert (result.status, result.attempts) == ("completed", 1)
        assert await producer.result(later.task_id) is None
        assert "Traceback" not in process.output()


async def test_killed_in_the_middle_its_tasks_are_done_once_by_another(
    redis_server: RedisServer, client: Client, queue: QueueKeys, folder: Path
) -> None:
    producer = Producer(client, queue)
    budget = Budget(10**6, 8000)
    settings: dict[str, Any] = {"lease_seconds": 1, "daily_token_limit": budget.daily}
    with agent(folder, redis_server, "one", **settings) as doomed:
        meta = {"latency_seconds": 2, "input_tokens": 100, "output_tokens": 10}
        submissions = [await producer.submit("x", meta=meta) for _ in range(3)]
        await in_flight(client, queue, 3)

        async def reserved() -> bool:
            return (await TokenLedger(client, queue).usage(budget)).reserved == 3 * 8000

        await eventually(reserved, "the reservations of three calls")
        doomed.kill()
        with agent(folder, redis_server, "two", **settings):
            for submission in submissions:
                result = await result_of(client, queue, submission.task_id)
                assert (result.status, result.attempts) == ("completed", 1), "which of them it died of is not known"
    usage = await TokenLedger(client, queue).usage(budget)
    assert usage.total == 3 * 110, "each result, and its cost, is written once"
    assert usage.reserved == 3 * 8000, "the dead worker's calls stay reserved until their time is over"


async def test_a_task_of_ten_leases_runs_once(
    redis_server: RedisServer, client: Client, queue: QueueKeys, folder: Path
) -> None:
    producer = Producer(client, queue)
    with (
        agent(folder, redis_server, "one", lease_seconds=0.6) as one,
        agent(folder, redis_server, "two", lease_seconds=0.6) as two,
    ):
        submission = await producer.submit("x", meta={"latency_seconds": 6, "input_tokens": 7})
        result = await result_of(client, queue, submission.task_id)
        assert (result.status, result.attempts) == ("completed", 1)
        assert "reclaimed" not in one.output() + two.output()
    assert (await TokenLedger(client, queue).usage(Budget(None, 1))).total == 7


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": "claude-sonnet-4-5"}, "ark-agent: ANTHROPIC_API_KEY is not set"),
        ({"model": "llama-3"}, "ark-agent: --model (AGENT_MODEL) is 'llama-3', which does not identify a provider"),
        ({"daily_token_limit": 100}, "less than one call may cost"),
        ({"host": "192.0.2.1", "http_port": 1}, "ark-agent: cannot listen on 192.0.2.1:1 for HTTP"),
    ],
)
async def test_what_it_cannot_work_with_is_one_line_and_exit_code_2(
    redis_server: RedisServer, folder: Path, settings: dict[str, Any], said: str
) -> None:
    with agent(folder, redis_server, "one", **settings) as process:
        assert await asyncio.to_thread(process.wait, 60) == 2
        assert said in process.output()
        assert "Traceback" not in process.output()
