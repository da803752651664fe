"""How soon the operator has a pool where the queue, or a person, wants it, on a real Kubernetes and a real KEDA.

| what | from | to |
|---|---|---|
| burst | 48 tasks into an idle queue | ``spec.replicas`` at 10, and no other number within two of the HPA's looks |
| more work | 45 tasks more while 3 replicas have 15 | 12 |
| pin | ``spec.replicas`` of the ArkAgent set to 5, while the queue wants 10 | the Deployment at 5 |
| back | ``spec.replicas`` set to null | the Deployment at 10 again |

The times end when a watch on the API server sees the Deployment. The pools' Pods stay pending (they name a scheduler
that is not there) and nobody takes the tasks.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ark_operator.cluster.kinds import ARK_AGENTS
from ark_taskqueue import Client, QueueKeys, connect
from hack.bench.deploy import deploy
from hack.bench.report import Bar, Percentiles, Report
from hack.cluster import api, operator_manifests
from hack.cluster.access import Access, local
from hack.cluster.api import DEPLOYMENTS, SCALED_OBJECTS, Api, Object
from hack.cluster.process_cluster import ProcessCluster

_NAMESPACE = "bench"
_SETTLE_SECONDS = 40.0
"""More than a poll of KEDA's: every pool was looked at and left at zero."""
_GAP_SECONDS = 1.7
"""Between two pools' turns; no divisor of a look's, a poll's or a sync's period."""
_HPA_SECONDS = 35.0
"""Two of the HPA's looks."""
_LONGEST_SECONDS = 120.0


@dataclass(slots=True)
class _Pool:
    """One pool's numbers, each with the moment at which it was seen; monotonic seconds."""

    changes: list[tuple[float, int]] = field(default_factory=list)

    @property
    def replicas(self) -> int:
        """The present number."""
        return self.changes[-1][1] if self.changes else -1

    async def reaches(self, replicas: int, since: float) -> float:
        """Wait until the pool has a number; return how long it took since a moment, seconds."""
        async with asyncio.timeout(_LONGEST_SECONDS):
            while True:
                for moment, number in self.changes:
                    if number == replicas and moment >= since:
                        return moment - since
                await asyncio.sleep(0.01)


class _Bench:
    """The pools of the benchmark."""

    def __init__(self, connected: Api, client: Client) -> None:
        self._api = connected
        self._client = client
        self.pools: dict[str, _Pool] = {}

    async def watch(self) -> None:
        """Note every change of a pool, until cancelled."""
        async for event in self._api.watch(DEPLOYMENTS.path(_NAMESPACE)):
            pool = self.pools.get(event.object["metadata"]["name"].removesuffix("-agent"))
            replicas = event.object["spec"]["replicas"]
            if pool is not None and pool.replicas != replicas:
                pool.changes.append((time.monotonic(), replicas))

    async def make(self, names: Sequence[str]) -> None:
        """Make agents, and wait until KEDA watches all of their queues."""
        self.pools |= {name: _Pool() for name in names}
        for name in names:
            await self._api.create(ARK_AGENTS.path(_NAMESPACE), _agent(name))
        async with asyncio.timeout(_LONGEST_SECONDS):
            while True:
                listed = (await self._api.get(SCALED_OBJECTS.path(_NAMESPACE)))["items"]
                if sum(bool(item.get("status", {}).get("externalMetricNames")) for item in listed) == len(self.pools):
                    return
                await asyncio.sleep(0.5)

    async def submit(self, name: str, tasks: int) -> float:
        """Add tasks; return the moment just before."""
        stream = QueueKeys.for_agent(_NAMESPACE, name).stream
        began = time.monotonic()
        async with self._client.pipeline(transaction=False) as pipeline:
            for _ in range(tasks):
                pipeline.execute_command("XADD", stream, "*", "prompt", "x")
            await pipeline.execute()
        return began

    async def set_replicas(self, name: str, replicas: int | None) -> float:
        """Set ``spec.replicas`` of an agent; return the moment just before."""
        began = time.monotonic()
        await self._api.patch(ARK_AGENTS.path(_NAMESPACE, name), {"spec": {"replicas": replicas}})
        return began


async def run(report: Report) -> None:
    """Run this part of the benchmark."""
    with tempfile.TemporaryDirectory(prefix="ark-bench-", ignore_cleanup_errors=True) as folder:
        cluster = ProcessCluster(Path(folder))
        try:
            await asyncio.to_thread(cluster.start)
            await _measure(report, local(cluster.state))
        finally:
            await asyncio.to_thread(cluster.stop)


async def _measure(report: Report, access: Access) -> None:
    redis = await deploy(access, _NAMESPACE)
    client = connect(f"redis://{redis}/0")
    try:
        async with api.connect(access.kubectl.kubeconfig) as connected, asyncio.TaskGroup() as group:
            bench = _Bench(connected, client)
            watching = group.create_task(bench.watch())
            wakes = [f"burst-{number}" for number in range(8 if report.quick else 30)]
            await bench.make(wakes)
            print(f"{len(wakes)} idle pools", file=sys.stderr, flush=True)
            await asyncio.sleep(_SETTLE_SECONDS)
            await _bursts(report, bench, wakes)
            await _pins(report, bench, wakes[: len(wakes) // 2])
            await _more_work(report, bench, wakes)
            watching.cancel()
    finally:
        await client.aclose()


async def _bursts(report: Report, bench: _Bench, names: Sequence[str]) -> None:
    took = []
    for name in names:
        began = await bench.submit(name, 48)
        took.append(1000 * await bench.pools[name].reaches(10, began))
        await asyncio.sleep(_GAP_SECONDS)
    found = Percentiles.of(took)
    report.add("burst of 48 tasks, 0 -> 10 replicas, p50", found.p50, "ms", Bar("<=", 300))
    report.add("burst of 48 tasks, 0 -> 10 replicas, p99", found.p99, "ms", Bar("<=", 1000))
    await asyncio.sleep(_HPA_SECONDS)
    steps = [[number for _, number in bench.pools[name].changes] for name in names]
    changed = sum(seen not in ([0, 1, 10], [0, 10]) for seen in steps)
    report.add("pools that the HPA changed afterwards", changed, "pools", Bar("<=", 0))


async def _pins(report: Report, bench: _Bench, names: Sequence[str]) -> None:
    pinned, back = [], []
    for name in names:
        began = await bench.set_replicas(name, 5)
        pinned.append(1000 * await bench.pools[name].reaches(5, began))
    await asyncio.sleep(_HPA_SECONDS)
    strayed = sum(bench.pools[name].replicas != 5 for name in names)
    report.add("pinned to 5 while the queue wants 10, p50", Percentiles.of(pinned).p50, "ms")
    report.add("pinned to 5 while the queue wants 10, p99", Percentiles.of(pinned).p99, "ms", Bar("<=", 1000))
    report.add("pools that left their pin", strayed, "pools", Bar("<=", 0))
    for name in names:
        began = await bench.set_replicas(name, None)
        back.append(1000 * await bench.pools[name].reaches(10, began))
    report.add("back to Auto, until the queue's 10, p50", Percentiles.of(back).p50, "ms")
    report.add("back to Auto, until the queue's 10, p99", Percentiles.of(back).p99, "ms", Bar("<=", 2000))


async def _more_work(report: Report, bench: _Bench, others: Sequence[str]) -> None:
    names = [f"more-{number}" for number in range(len(others) * 2 // 3)]
    await bench.make(names)
    for name in names:
        await bench.submit(name, 15)
    for name in names:
        await bench.pools[name].reaches(3, 0.0)
    await asyncio.sleep(_SETTLE_SECONDS)
    took = []
    for name, pause in zip(names, itertools.cycle((0.3, 0.7, 1.1, 1.6)), strict=False):
        began = await bench.submit(name, 45)
        took.append(1000 * await bench.pools[name].reaches(12, began))
        await asyncio.sleep(pause)
    found = Percentiles.of(took)
    report.add("more work, 3 -> 12 replicas, p50", found.p50, "ms", Bar("<=", 1500))
    report.add("more work, 3 -> 12 replicas, p99", found.p99, "ms")


def _agent(name: str) -> Object:
    template = {"spec": {"schedulerName": "nobody"}}
    spec = {
        "model": "m",
        "systemPrompt": "p",
        "autoscaling": {"maxReplicas": 20, "tasksPerReplica": 5},
        "template": template,
    }
    return operator_manifests.agent(_NAMESPACE, name, **spec)
