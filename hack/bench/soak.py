"""Whether memory stays where it is: 50 tasks a second for an hour on the stack of the chaos runs, without faults.

``MINUTES=60`` says for how long. Every ten seconds the resident memory of scalers and operators is read; the growth is
that from the middle's to the end's median of five minutes. Log lines of level warning and above are counted and shown.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from ark_taskqueue import Producer
from hack.bench.report import Bar, Report
from hack.chaos.load import Load
from hack.chaos.stack import MAIN, Stack, agent, deployed, make_agents, queue
from hack.cluster import programs

_PER_SECOND = 50.0
_SAMPLE_SECONDS = 10.0
_MOST_GROWTH = 0.05
_MEGABYTE = 1e6


async def run(report: Report) -> None:
    """Run the soak."""
    minutes = float(os.environ.get("MINUTES") or (2 if report.quick else 60))
    report.software = {
        "kubernetes": programs.KUBERNETES.version,
        "keda": programs.KEDA.version,
        "minutes": f"{minutes:g}",
    }
    with tempfile.TemporaryDirectory(prefix="ark-soak-", ignore_cleanup_errors=True) as folder:
        async with deployed(Path(folder)) as stack:
            await _soak(report, stack, minutes * 60)


@dataclass(slots=True)
class _Memory:
    """Resident bytes of some processes over time."""

    name: str
    pids: list[int]
    samples: list[float] = field(default_factory=list)

    def look(self) -> None:
        self.samples.append(max(psutil.Process(pid).memory_info().rss for pid in self.pids))

    def report(self, report: Report) -> None:
        """Report the larger one of the replicas."""
        window = max(1, min(30, len(self.samples) // 4))
        half = len(self.samples) // 2
        middle = statistics.median(self.samples[half : half + window])
        end = statistics.median(self.samples[-window:])
        report.add(f"{self.name}: resident memory at half time", middle / _MEGABYTE, "MB")
        report.add(f"{self.name}: resident memory at the end", end / _MEGABYTE, "MB")
        report.add(f"{self.name}: growth in the second half", end / middle - 1, "ratio", Bar("<=", _MOST_GROWTH))


async def _soak(report: Report, stack: Stack, seconds: float) -> None:
    redis = f"redis://127.0.0.1:{stack.links['workers-redis'].port}/0"
    await make_agents(stack, [agent(MAIN, stack.notes_url, redis, autoscaling={"maxReplicas": 12})])
    load = Load(Producer(stack.client, queue(MAIN)), _PER_SECOND)
    memories = [
        _Memory("scaler", [one.pid for one in stack.scalers]),
        _Memory("operator", [one.pid for one in stack.operators]),
    ]
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        loading = group.create_task(load.run())
        while time.monotonic() - began < seconds:
            for memory in memories:
                memory.look()
            if len(memories[0].samples) % 30 == 1:
                found = {one.name: round(one.samples[-1] / _MEGABYTE, 1) for one in memories}
                print(f"  {time.monotonic() - began:5.0f} s: {found}", file=sys.stderr, flush=True)
            await asyncio.sleep(_SAMPLE_SECONDS)
        loading.cancel()
    rate = len(load.accepted) / (time.monotonic() - began)
    report.add("tasks accepted", rate, "1/s", Bar(">=", 0.98 * _PER_SECOND))
    for memory in memories:
        memory.report(report)
    said = _said(stack)
    for text, times in said.most_common():
        print(f"  {times} x {text}", file=sys.stderr)
    report.add("log lines of level warning and above", sum(said.values()), "lines")


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
