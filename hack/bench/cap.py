"""Whether a daily cap holds: 200 workers on it at a time, calls of random sizes, workers killed at random.

Each round has a cap of its own that its workers come up to before it ends. The LLM is a fake that writes down what each
call costs as the call begins, so that also a killed worker's calls are counted: the truth, next to the ledger. Workers
are real ones, some in each process, and a process is killed every so often and replaced. At the end what the dead had
reserved must be given back by itself.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from ark_agent.calls import Calls
from ark_agent.context import answer_prompt
from ark_agent.gate import Gate
from ark_agent.metrics import AgentMetrics
from ark_agent.options import Reports, WorkLimits
from ark_agent.providers import Reply, Request
from ark_agent.reserving import CallLimits, Reserving
from ark_agent.worker import Worker
from ark_process import logs
from ark_taskqueue import Budget, Client, Consumer, QueueKeys, TokenLedger, connect
from hack.bench.report import Bar, Report
from hack.local.redis_server import RedisServer

WORKERS = 200
_PER_PROCESS = 25
_PER_CALL = 1000
_CALL_SECONDS = (0.1, 1.5)
_TASKS = 20_000
_FULL = ((4_500_000, 60.0), (300_000, 10.0), (600_000, 10.0))
"""Caps, and for how long each is played, seconds. The long one is reached towards its end, the others early."""
_QUICK = ((400_000, 8.0), (700_000, 8.0))
_KILL_EVERY = 1.5
_CONNECTIONS = 40
"""Of one process; its workers wait for tasks most of the time."""


@dataclass(frozen=True, slots=True)
class Round:
    """One cap and its workers."""

    redis_url: str
    name: str
    cap: int
    seconds: float
    """How long it is played."""
    timeout_seconds: float = 30.0
    """Of a task."""

    @property
    def reserved_seconds(self) -> float:
        """How long a reservation lasts: longer than the round, or what killed workers have spent would be forgotten."""
        return self.timeout_seconds + self.seconds

    @property
    def queue(self) -> QueueKeys:
        """Its queue."""
        return QueueKeys.for_agent("bench", self.name)

    @property
    def truth(self) -> str:
        """Key of the tokens that calls have cost in fact."""
        return f"{self.queue.base}:truth"

    @property
    def budget(self) -> Budget:
        """What its workers may spend."""
        return Budget(self.cap, _PER_CALL)


@dataclass(slots=True)
class Found:
    """What came of one round."""

    cap: int
    spent: int = 0
    """Tokens that calls have cost, those of killed workers too."""
    written: int = 0
    """Tokens in the ledger."""
    killed: int = 0
    """Workers."""
    stranded: int = 0
    """Tokens that were still reserved when the last worker was gone."""
    left: int = 0
    """Of them, those that were not given back when their time was over."""
    highest: int = 0
    """The most that was spent and reserved at a time, by the ledger."""


@dataclass(slots=True)
class _CountedLLM:
    """Costs a random number of tokens, and says so before it does."""

    client: Client
    truth: str
    chance: random.Random = field(default_factory=random.Random)

    async def count(self, request: Request) -> int:  # noqa: ARG002 - a fake
        return self.chance.randrange(1, _PER_CALL // 2)

    async def call(self, request: Request, output_tokens: int) -> Reply:  # noqa: ARG002 - a fake
        wrote = self.chance.randrange(output_tokens + 1)
        read = _PER_CALL - output_tokens
        await self.client.execute_command("INCRBY", self.truth, read + wrote)
        await asyncio.sleep(self.chance.uniform(*_CALL_SECONDS))
        return Reply("", read, wrote, "end_turn")

    async def aclose(self) -> None:
        """Have nothing to close."""


def _be_workers(given: Round, process: int) -> None:
    """Be one process of workers, until killed."""
    logs.configure("error", "json")

    async def work() -> None:
        client = connect(given.redis_url, max_connections=_CONNECTIONS, timeout=30)
        async with asyncio.TaskGroup() as group:
            for number in range(_PER_PROCESS):
                metrics, gate = AgentMetrics(), Gate()
                limits = CallLimits(given.budget, given.timeout_seconds, margin_seconds=given.seconds)
                ledger = TokenLedger(client, given.queue)
                reserving = Reserving(ledger, limits, gate)
                calls = Calls(_CountedLLM(client, given.truth), reserving, limits, gate, metrics, "m")
                consumer = Consumer(client, given.queue, f"{process}-{number}")
                work_limits = WorkLimits(1, given.timeout_seconds)
                worker = Worker(consumer, answer_prompt, calls, gate, work_limits, Reports(metrics))
                group.create_task(_reclaim(consumer))
                group.create_task(worker.run())

    with suppress(KeyboardInterrupt):
        asyncio.run(work())


async def _reclaim(consumer: Consumer) -> None:
    """Do what a worker's upkeep does for the others; a thread for each of two hundred would be too much here."""
    while True:
        await asyncio.sleep(1)
        await consumer.reclaim()


@contextmanager
def _processes(given: Round) -> Iterator[list[ForkServerProcess]]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hack.bench.cap"])
    running = [_started(given, number) for number in range(WORKERS // _PER_PROCESS)]
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.join()


def _started(given: Round, number: int) -> ForkServerProcess:
    process = multiprocessing.get_context("forkserver").Process(target=_be_workers, args=(given, number), daemon=True)
    process.start()
    return process


async def play(client: Client, given: Round, seed: int) -> Found:
    """Play one round, and leave its last reservations as they are."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    found, ledger = Found(given.cap), TokenLedger(client, given.queue)
    for _ in range(_TASKS // 1000):
        pipeline = client.pipeline(transaction=False)
        for _ in range(1000):
            pipeline.xadd(given.queue.stream, {"prompt": "x"})
        await pipeline.execute()
    with _processes(given) as running:
        ends = time.monotonic() + given.seconds
        kills, next_kill = len(running), time.monotonic() + _KILL_EVERY
        while time.monotonic() < ends:
            await asyncio.sleep(0.05)
            usage = await ledger.usage(given.budget)
            found.highest = max(found.highest, usage.total + usage.reserved)
            if time.monotonic() >= next_kill and not usage.exceeded:
                next_kill = time.monotonic() + _KILL_EVERY
                doomed = running.pop(chance.randrange(len(running)))
                doomed.kill()
                doomed.join()
                found.killed += _PER_PROCESS
                running.append(_started(given, kills))
                kills += 1
    found.spent = int(await client.execute_command("GET", given.truth) or 0)
    usage = await ledger.usage(given.budget)
    found.written, found.stranded = usage.total, usage.reserved
    return found


async def run(report: Report) -> None:
    """Run the benchmark."""
    with tempfile.TemporaryDirectory(prefix="ark-bench-") as folder, RedisServer(Path(folder)) as server:
        report.software = {"redis": str(server.binary)}
        client = connect(server.url, timeout=30)
        try:
            given = [
                Round(server.url, f"cap-{number}", cap, seconds)
                for number, (cap, seconds) in enumerate(_QUICK if report.quick else _FULL)
            ]
            found = [await play(client, each, number) for number, each in enumerate(given)]
            await asyncio.sleep(max(each.reserved_seconds for each in given) + 1)
            for each, result in zip(given, found, strict=True):
                result.left = (await TokenLedger(client, each.queue).usage(each.budget)).reserved
        finally:
            await client.aclose()
    report.add("workers at a time", WORKERS, "workers")
    report.add("caps, each reached by its workers", len(given), "caps")
    report.add("played on one cap, the longest", max(each.seconds for each in given), "s")
    report.add("workers killed", sum(result.killed for result in found), "workers")
    over = max(result.spent - result.cap for result in found)
    report.add("tokens over the cap, the worst of all", max(0, over), "tokens", Bar("<=", 0))
    highest = max(result.highest - result.cap for result in found)
    report.add("spent and reserved over the cap, by the ledger", max(0, highest), "tokens", Bar("<=", 0))
    report.add("of the cap used, the least of all", min(100 * result.spent / result.cap for result in found), "%")
    report.add("reserved by dead workers", sum(result.stranded for result in found), "tokens")
    left = sum(result.left for result in found)
    report.add("of it still reserved after its time", left, "tokens", Bar("<=", 0))
