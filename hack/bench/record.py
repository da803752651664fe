"""What the record of a queue's demand costs (contract C8): memory, and time beside claims and completions.

Two queues on one server, one with a record and one without, take turns task by task: a claim and a completion, and
once in a second of them a look for tasks of dead workers, which is what writes the record. Memory is that of a whole
day without an idle span, written by the script's own code with a clock that is moved.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from ark_taskqueue import Client, Consumer, Outcome, QueueKeys, connect, read_demand
from ark_taskqueue.tasks.policy import DEFAULT_RECORD_SECONDS
from hack.bench.report import Bar, Percentiles, Report
from hack.local.redis_server import RedisServer

_SECONDS = 30.0
_IN_HAND = 50
"""Tasks that the measured worker holds beside the one that it works on: what a look finds."""
_BATCH = 500
_LIGHT, _BUSY = (1, 5.0), (400, 300.0)
"""Arrivals and busy slots in each ten seconds: of a small pool, and of one with 60 replicas."""
_FILL = """
local now = tonumber(ARGV[1])
for second = 0, 86399 do
  local at = now - 86400000 + second * 1000
  record_demand(KEYS[1], 86400000, at, at + 1000, tonumber(ARGV[2]) / 10, tonumber(ARGV[3]), second % 7)
end
return redis.call('MEMORY', 'USAGE', KEYS[1], 'SAMPLES', 0)
"""


async def run(report: Report) -> None:
    """Run the benchmark."""
    with tempfile.TemporaryDirectory(prefix="ark-bench-") as folder, RedisServer(Path(folder)) as server:
        report.software = {"redis": str(server.binary)}
        client = connect(server.url)
        try:
            await _memory(report, client)
            await _time(report, client, 3.0 if report.quick else _SECONDS)
        finally:
            await client.aclose()


async def _memory(report: Report, client: Client) -> None:
    code = (resources.files("ark_taskqueue") / "tasks" / "demand_record.lua").read_text() + _FILL
    for name, (arrivals, busy) in (("small", _LIGHT), ("busy", _BUSY)):
        queue = QueueKeys.for_agent("bench", name)
        now = (await client.time())[0] * 1000
        used = await client.execute_command("EVAL", code, 1, queue.demand, now, arrivals, busy)
        report.add(f"{name} queue, a day without an idle span: memory", used / 1000, "kB", Bar("<=", 100))
    took = []
    for _ in range(20):
        began = time.perf_counter()
        await read_demand(client, queue)
        took.append(1000 * (time.perf_counter() - began))
    report.add("read it whole, p50", Percentiles.of(took).p50, "ms")


@dataclass(slots=True)
class _Side:
    """One of the two queues, and what work on it took."""

    queue: QueueKeys
    worker: Consumer
    tasks: list[float] = field(default_factory=list)
    """Of each claim and completion, seconds."""
    looks: list[float] = field(default_factory=list)
    since_look: float = 0.0

    @property
    def seconds(self) -> float:
        """Of all work on a task, its share of the looks included."""
        return (sum(self.tasks) + sum(self.looks)) / len(self.tasks)

    async def work(self) -> None:
        """Do a task, and once a second a look before it."""
        if not self.looks or self.since_look >= 1.0:
            began = time.perf_counter()
            await self.worker.reclaim(interval_seconds=0)
            self.looks.append(time.perf_counter() - began)
            self.since_look = self.looks[-1]
        began = time.perf_counter()
        [task] = await self.worker.claim(1)
        await self.worker.complete(task, Outcome("done"), 0.1)
        self.tasks.append(time.perf_counter() - began)
        self.since_look += self.tasks[-1]


async def _time(report: Report, client: Client, seconds: float) -> None:
    sides = []
    for name, kept in (("with", DEFAULT_RECORD_SECONDS), ("without", 0.0)):
        queue = QueueKeys.for_agent("bench", name)
        side = _Side(queue, Consumer(client, queue, "worker", record_seconds=kept))
        await _submit(client, queue, _IN_HAND)
        await side.worker.claim(_IN_HAND)
        sides.append(side)
    with_record, without = sides
    while sum(without.tasks) < seconds:
        for side in sides:
            await _submit(client, side.queue, _BATCH)
        for number in range(2 * _BATCH):
            # Neither always first: what comes second finds the server awake.
            await sides[(number + number // 2) % 2].work()
    ratio = with_record.seconds / without.seconds
    report.add("claim and complete, with a record, p50", 1e6 * statistics.median(with_record.tasks), "us")
    report.add("time of claims, completions and looks: with / without", ratio, "ratio", Bar("<=", 1.03))
    report.add("a look with a record, p50", 1e6 * statistics.median(with_record.looks), "us")
    report.add("a look without one, p50", 1e6 * statistics.median(without.looks), "us")


async def _submit(client: Client, queue: QueueKeys, count: int) -> None:
    pipeline = client.pipeline(transaction=False)
    for _ in range(count):
        pipeline.execute_command("XADD", queue.stream, "*", "prompt", "x")
    await pipeline.execute()
