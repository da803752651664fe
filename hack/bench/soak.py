"""Whether memory stays where it is: 50 tasks a second for an hour on the stack of the chaos runs, without faults.

``MINUTES=60`` says for how long. Every ten seconds the resident memory of scalers and operators is read; the growth is
that from the middle's to the end's median of five minutes. Beside it: their processor time, their open files (a
connection that nobody closes is seen there first), and the tasks that have no result once the queue has been worked
off. Each minute one of eight more pools is woken from zero, which it has gone back to since its last turn, and has a
minute for its task. Log lines of level warning and above are counted and shown.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from ark_taskqueue import Producer, TaskQueueError, read_depths
from hack.bench.report import Bar, Report
from hack.chaos.load import Load, meta
from hack.chaos.stack import MAIN, Stack, agent, deployed, make_agents, queue
from hack.cluster import programs
from hack.local.options import from_environment, number

_PER_SECOND = 50.0
_SAMPLE_SECONDS = 10.0
_MOST_GROWTH = 0.05
_MEGABYTE = 1e6
_DRAIN_SECONDS = 120.0
_SLEEPERS = [f"sleeper-{number}" for number in range(8)]
_TURN_SECONDS = 60.0


async def run(report: Report) -> None:
    """Run the soak."""
    minutes = from_environment("MINUTES", number(above=True), 2.0 if report.quick else 60.0)
    report.software = {
        "kubernetes": programs.KUBERNETES.version,
        "keda": programs.KEDA.version,
        "minutes": f"{minutes:g}",
    }
    with tempfile.TemporaryDirectory(prefix="ark-soak-", ignore_cleanup_errors=True) as folder:
        async with deployed(Path(folder)) as stack:
            await _soak(report, stack, minutes * 60)


@dataclass(slots=True)
class _Program:
    """What the replicas of a program take, over time: resident bytes and open files of the larger one."""

    name: str
    replicas: list[psutil.Process]
    samples: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    processor_seconds: float = 0.0
    """Of all replicas, at the beginning."""

    def __post_init__(self) -> None:
        self.processor_seconds = self._processor_seconds()

    def _processor_seconds(self) -> float:
        taken = [one.cpu_times() for one in self.replicas]
        return sum(one.user + one.system for one in taken)

    def look(self) -> None:
        self.samples.append(max(one.memory_info().rss for one in self.replicas))
        self.files.append(max(one.num_fds() for one in self.replicas))

    def report(self, report: Report, seconds: float) -> None:
        """Report what was seen in so many seconds."""
        share = (self._processor_seconds() - self.processor_seconds) / seconds
        report.add(f"{self.name}: processor, all replicas", 100 * share, "% of a core")
        window = max(1, min(30, len(self.samples) // 4))
        half = len(self.samples) // 2
        middle = statistics.median(self.samples[half : half + window])
        end = statistics.median(self.samples[-window:])
        report.add(f"{self.name}: resident memory at half time", middle / _MEGABYTE, "MB")
        report.add(f"{self.name}: resident memory at the end", end / _MEGABYTE, "MB")
        report.add(f"{self.name}: growth in the second half", end / middle - 1, "ratio", Bar("<=", _MOST_GROWTH))
        report.add(
            f"{self.name}: open files at half time", statistics.median(self.files[half : half + window]), "files"
        )
        report.add(f"{self.name}: open files at the end", statistics.median(self.files[-window:]), "files")


@dataclass(slots=True)
class _Results:
    """Which accepted tasks have had no result yet; looked for often, as a result is kept for an hour only."""

    producer: Producer
    load: Load
    missing: list[str] = field(default_factory=list)
    seen: int = 0
    """So many of the accepted ones were looked at before."""

    async def look(self) -> None:
        """Ask for the missing ones, and for those of tasks accepted since."""
        asked = [*self.missing, *itertools.islice(self.load.accepted, self.seen, None)]
        self.seen = len(self.load.accepted)
        self.missing = [task for task in asked if await self.producer.result(task) is None]


async def _soak(report: Report, stack: Stack, seconds: float) -> None:
    redis = f"redis://127.0.0.1:{stack.links['workers-redis'].port}/0"
    main = agent(MAIN, stack.notes_url, redis, autoscaling={"maxReplicas": 12})
    await make_agents(stack, [main, *(agent(name, stack.notes_url, redis, autoscaling={}) for name in _SLEEPERS)])
    producer = Producer(stack.client, queue(MAIN))
    load = Load(producer, _PER_SECOND)
    results = _Results(producer, load)
    programs_seen = [
        _Program("scaler", [psutil.Process(one.pid) for one in stack.scalers]),
        _Program("operator", [psutil.Process(one.pid) for one in stack.operators]),
    ]
    asleep: list[str] = []
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(load.run()), group.create_task(_wake(stack, asleep))]
        while time.monotonic() - began < seconds:
            for program in programs_seen:
                program.look()
            if len(programs_seen[0].samples) % 30 == 1:
                found = {one.name: round(one.samples[-1] / _MEGABYTE, 1) for one in programs_seen}
                print(f"  {time.monotonic() - began:5.0f} s: {found}", file=sys.stderr, flush=True)
            await results.look()
            await asyncio.sleep(_SAMPLE_SECONDS)
        for task in running:
            task.cancel()
    taken = time.monotonic() - began
    report.add("tasks accepted", len(load.accepted) / taken, "1/s", Bar(">=", 0.98 * _PER_SECOND))
    for program in programs_seen:
        program.report(report, taken)
    report.add("pools that were not woken within a minute", len(asleep), "pools", Bar("<=", 0))
    await _worked_off(stack)
    await results.look()
    report.add("tasks without a result", len(results.missing), "tasks", Bar("<=", 0))
    said = _said(stack)
    for text, times in said.most_common():
        print(f"  {times} x {text}", file=sys.stderr)
    report.add("log lines of level warning and above", sum(said.values()), "lines")


async def _wake(stack: Stack, asleep: list[str]) -> None:
    """Give one sleeper after the other a task, until cancelled; note those that have not done it by the next turn."""
    for name in itertools.cycle(_SLEEPERS):
        producer = Producer(stack.client, queue(name))
        submission = await producer.submit("x", meta=meta(0.1))
        await asyncio.sleep(_TURN_SECONDS)
        if await producer.result(submission.task_id) is None:
            asleep.append(name)


async def _worked_off(stack: Stack) -> None:
    """Wait until nothing is left in the queue, for a while: what is left then are tasks without a result."""
    deadline = time.monotonic() + _DRAIN_SECONDS
    while time.monotonic() < deadline:
        [depth] = await read_depths(stack.client, [queue(MAIN)])
        if isinstance(depth, TaskQueueError):
            raise depth
        if not depth.demand:
            return
        await asyncio.sleep(1.0)


def _said(stack: Stack) -> Counter[str]:
    """Count what the programs have said that is no information."""
    found: Counter[str] = Counter()
    for process in (*stack.scalers, *stack.operators):
        for line in process.output().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                found[line[:120]] += 1
                continue
            if entry.get("level") not in ("info", "debug"):
                found[f"{entry.get('level')}: {entry.get('event')}: {str(entry.get('error', ''))[:80]}"] += 1
    return found
