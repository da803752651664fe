"""How soon a running task ends that is cancelled: from the call of `cancel` until the LLM sees its connection closed.

Real workers with the real SDK of OpenAI make calls that are never answered; one task after the other is cancelled at a
random moment. At the end every call must be booked, and nothing may be completed.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from ark_agent import providers
from ark_agent.calls import Calls
from ark_agent.context import answer_prompt
from ark_agent.gate import Gate
from ark_agent.metrics import AgentMetrics
from ark_agent.options import Reports, WorkLimits
from ark_agent.providers import ProviderOptions
from ark_agent.reserving import CallLimits, Reserving
from ark_agent.upkeep import Upkeep
from ark_agent.worker import Worker
from ark_process import logs
from ark_taskqueue import Budget, Client, Consumer, Producer, QueueKeys, TokenLedger, connect, read_counts
from hack.bench.report import Bar, Percentiles, Report
from hack.local.redis_server import RedisServer

_QUEUE = QueueKeys.for_agent("bench", "cancelled")
_WORKERS, _SLOTS = 4, 5
_BUDGET = Budget(10**9, 1000)
_TASK_SECONDS = 300.0
_MOST_SECONDS = 300.0
_PAUSE_SECONDS = (0.02, 0.12)
"""Between two cancellations: they come at any moment of the workers' looks."""


class _SilentLLM:
    """An LLM that never answers, and notes when the connection of a prompt is opened and closed."""

    def __init__(self) -> None:
        self.opened: asyncio.Queue[str] = asyncio.Queue()
        self.closed: dict[str, asyncio.Future[float]] = {}

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request, and wait until the client has gone."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0])
        prompt = json.loads(await reader.readexactly(length))["messages"][-1]["content"]
        self.closed[prompt] = asyncio.get_running_loop().create_future()
        await self.opened.put(prompt)
        try:
            await reader.read()
        finally:
            self.closed[prompt].set_result(time.perf_counter())
            writer.close()


async def run(report: Report) -> None:
    """Run the benchmark."""
    logs.configure("error", "json")
    count = 60 if report.quick else 400
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as redis:
        report.software = {"redis": str(redis.binary)}
        client, llm = connect(redis.url), _SilentLLM()
        server = await asyncio.start_server(llm.talk, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with server, AsyncExitStack() as stack:
            for number in range(_WORKERS):
                await stack.enter_async_context(_worker(redis.url, f"worker-{number}", url))
            async with asyncio.timeout(_MOST_SECONDS):
                times = await _cancel(Producer(client, _QUEUE), llm, count)
        taken = Percentiles.of(times)
        report.add("cancel until the connection is closed, p50", taken.p50, "ms")
        report.add("cancel until the connection is closed, p99", taken.p99, "ms", Bar("<=", 1000))
        await _report_ends(report, client, count)
        await client.aclose()


async def _cancel(producer: Producer, llm: _SilentLLM, count: int) -> list[float]:
    """Cancel so many running tasks; return how long each took to end, milliseconds."""
    chance = random.Random(5)  # noqa: S311 - the same moments in every run
    ids: dict[str, str] = {}

    async def submit() -> None:
        prompt = str(len(ids))
        ids[prompt] = (await producer.submit(prompt)).task_id

    async def ended(prompt: str) -> float:
        began = time.perf_counter()
        was = await producer.cancel(ids[prompt])
        assert was == "running", was
        return (await llm.closed[prompt] - began) * 1000

    for _ in range(min(count, _WORKERS * _SLOTS)):
        await submit()
    async with asyncio.TaskGroup() as group:
        ending = []
        for _ in range(count):
            prompt = await llm.opened.get()
            await asyncio.sleep(chance.uniform(*_PAUSE_SECONDS))
            ending.append(group.create_task(ended(prompt)))
            if len(ids) < count:
                await submit()
    return [task.result() for task in ending]


async def _report_ends(report: Report, client: Client, count: int) -> None:
    usage = await TokenLedger(client, _QUEUE).usage(_BUDGET)
    [counts] = await read_counts(client, [_QUEUE])
    if isinstance(counts, Exception):
        raise counts
    report.add("calls whose cost is not booked", abs(count - usage.total / _BUDGET.per_call), "calls", Bar("<=", 0))
    report.add("tokens that stay reserved", usage.reserved, "tokens", Bar("<=", 0))
    report.add("tasks completed", counts.completed, "tasks", Bar("<=", 0))
    report.add("tasks not cancelled", abs(count - counts.cancelled), "tasks", Bar("<=", 0))


@asynccontextmanager
async def _worker(redis_url: str, name: str, llm_url: str) -> AsyncIterator[None]:
    """Run a worker, and stop it."""
    client = connect(redis_url)
    provider = providers.make(ProviderOptions(name="openai", model="m", base_url=llm_url))
    metrics, gate, limits = AgentMetrics(), Gate(), CallLimits(_BUDGET, _TASK_SECONDS)
    reserving = Reserving(TokenLedger(client, _QUEUE), limits, gate)
    calls = Calls(provider, reserving, limits, gate, metrics, "m")
    work = WorkLimits(_SLOTS, _TASK_SECONDS, grace_seconds=0.1)
    worker = Worker(Consumer(client, _QUEUE, name), answer_prompt, calls, gate, work, Reports(metrics))

    def consumer_of_its_own() -> tuple[Client, Consumer]:
        own = connect(redis_url)
        return own, Consumer(own, _QUEUE, name)

    async with Upkeep(worker, consumer_of_its_own, metrics, longest_block_seconds=60).running():
        running = asyncio.create_task(worker.run())
        try:
            yield
        finally:
            worker.stop()
            await running
    await provider.aclose()
    await client.aclose()
