"""How soon a pool at zero has its first replica, and all it needs: this scaler and KEDA's own, on one real cluster.

| contender | trigger |
|---|---|
| ark | external-push to this project's scaler, the behaviour that the README shows |
| redis-streams | KEDA's own scaler with lagCount and KEDA's defaults: a poll every 30 s |
| redis-streams, 5 s | the same with pollingInterval 5 |

Each contender has a number of idle pools on the same cluster. One wake adds 48 tasks to one queue of each contender at
the same moment; 5 tasks for a replica ask for 10. What is measured is the time from just before the first XADD to the
moment at which a watch on the API server sees the Deployment's ``spec.replicas`` at 1 or more, and at 10. The wakes
come at times that are spread over the polls. The HPA's sync period is 15 s, as on real clusters.

The pools' Pods stay pending (they name a scheduler that is not there) and nobody takes the tasks: how soon workers
start and how they share the machine with the control plane is not what this is about.
"""

from __future__ import annotations

import asyncio
import functools
import random
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ark_taskqueue import Client, QueueKeys, connect
from hack.bench.report import Bar, Percentiles, Report
from hack.cluster import api, manifests, programs
from hack.cluster.access import Access, local
from hack.cluster.api import DEPLOYMENTS, SCALED_OBJECTS, Api
from hack.cluster.manifests import Object, Scaling
from hack.cluster.process_cluster import ProcessCluster

_NAMESPACE = "bench"
_TASKS = 48
_TASKS_PER_REPLICA = 5
_WANTED = 10
_FIRST = 1
_SETTLE_SECONDS = 35.0
"""More than a poll of KEDA's: every pool was looked at and left at zero."""
_GAP_SECONDS = 3.1
"""Between two wakes; no divisor of a poll's or a sync's period."""
_LONGEST_SECONDS = 180.0
"""From the last wake until every pool has all its replicas."""
_GROUP = "agent-workers"


@dataclass(frozen=True, slots=True)
class _Contender:
    name: str
    agent: str
    """What its pools' names begin with."""
    scaling: Scaling


_ARK = _Contender("ark", "ark", Scaling())
_KEDA = _Contender("redis-streams", "keda", Scaling(scale_up=None))
_KEDA_5 = _Contender("redis-streams, 5 s", "keda5", Scaling(scale_up=None, polling_seconds=5))
_CONTENDERS = (_ARK, _KEDA, _KEDA_5)


@dataclass(slots=True)
class _Wake:
    """When a pool was woken and what came of it; monotonic seconds."""

    submitted: float | None = None
    reached: dict[int, float] = field(default_factory=dict)
    """When the pool had at least so many replicas."""

    def seconds(self, replicas: int) -> float:
        assert self.submitted is not None
        return self.reached[replicas] - self.submitted


async def run(report: Report) -> None:
    """Run the benchmark."""
    wakes = 8 if report.quick else 30
    with tempfile.TemporaryDirectory(prefix="ark-bench-", ignore_cleanup_errors=True) as folder:
        cluster = ProcessCluster(Path(folder))
        try:
            await asyncio.to_thread(cluster.start)
            report.software = {
                "kubernetes": programs.KUBERNETES.version,
                "keda": programs.KEDA.version,
                "hpa sync period": "15 s",
            }
            found = await _measure(local(cluster.state), wakes)
        finally:
            await asyncio.to_thread(cluster.stop)
    _report(report, found)


async def _measure(access: Access, wakes: int) -> Mapping[str, list[_Wake]]:
    pools = [f"{contender.agent}-{number}" for contender in _CONTENDERS for number in range(wakes)]
    found = {pool: _Wake() for pool in pools}
    await asyncio.to_thread(access.kubectl.apply, [manifests.namespace(_NAMESPACE), *manifests.redis(_NAMESPACE)])
    await asyncio.to_thread(access.wait_ready, _NAMESPACE, manifests.REDIS)
    redis = await asyncio.to_thread(access.address, _NAMESPACE, manifests.REDIS, manifests.REDIS_PORT)
    await asyncio.to_thread(access.kubectl.apply, manifests.scaler(_NAMESPACE, f"redis://{redis}/0"))
    await asyncio.to_thread(access.wait_ready, _NAMESPACE, manifests.SCALER)
    scaler = await asyncio.to_thread(access.address, _NAMESPACE, manifests.SCALER, manifests.SCALER_PORT)
    client = connect(f"redis://{redis}/0")
    try:
        for pool in pools:
            await client.execute_command("XGROUP", "CREATE", _queue(pool).stream, _GROUP, "0", "MKSTREAM")
        _progress(f"{len(pools)} pools, {wakes} for each contender")
        objects = [made for pool in pools for made in _pool(pool, scaler, redis)]
        await asyncio.to_thread(functools.partial(access.kubectl.apply, objects))
        async with api.connect(access.kubectl.kubeconfig) as connected, asyncio.TaskGroup() as group:
            await _taken(connected, len(pools))
            watching = group.create_task(_watch(connected, found))
            await asyncio.sleep(_SETTLE_SECONDS)
            await _wake_all(client, found, wakes)
            await _all_scaled(found)
            watching.cancel()
    finally:
        await client.aclose()
    return {
        contender.name: [found[f"{contender.agent}-{number}"] for number in range(wakes)] for contender in _CONTENDERS
    }


def _progress(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _queue(pool: str) -> QueueKeys:
    return QueueKeys.for_agent(_NAMESPACE, pool)


def _pool(pool: str, scaler: str, redis: str) -> list[Object]:
    """Return a pool whose Pods stay pending, and its ScaledObject."""
    [contender] = [contender for contender in _CONTENDERS if pool.rpartition("-")[0] == contender.agent]
    workers = manifests.workers(_NAMESPACE, pool, f"redis://{redis}/0")
    workers["spec"]["template"]["spec"]["schedulerName"] = "nobody"
    if contender is _ARK:
        trigger = manifests.ark_trigger(scaler, queue=f"{_NAMESPACE}/{pool}", tasksPerReplica=str(_TASKS_PER_REPLICA))
    else:
        trigger = manifests.redis_streams_trigger(redis, _queue(pool).stream, _GROUP, lagCount=str(_TASKS_PER_REPLICA))
    return [workers, manifests.scaled_object(_NAMESPACE, pool, [trigger], contender.scaling)]


async def _taken(connected: Api, pools: int) -> None:
    """Wait until KEDA has set up every ScaledObject."""
    deadline = time.monotonic() + _LONGEST_SECONDS
    while True:
        listed = (await connected.get(SCALED_OBJECTS.path(_NAMESPACE)))["items"]
        ready = sum(bool(item.get("status", {}).get("externalMetricNames")) for item in listed)
        if ready == pools:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"KEDA has set up {ready} of {pools} ScaledObjects")
        await asyncio.sleep(0.5)


async def _watch(connected: Api, found: Mapping[str, _Wake]) -> None:
    """Note when Deployments have what replicas, until cancelled."""
    async for event in connected.watch(DEPLOYMENTS.path(_NAMESPACE)):
        now = time.monotonic()
        wake = found.get(event.object["metadata"]["name"].removesuffix("-agent"))
        if wake is None:
            continue
        replicas = event.object["spec"]["replicas"]
        if replicas and wake.submitted is None:
            raise AssertionError(f"{event.object['metadata']['name']} has {replicas} replicas before it was woken")
        for number in (_FIRST, _WANTED):
            if replicas >= number:
                wake.reached.setdefault(number, now)


async def _wake_all(client: Client, found: Mapping[str, _Wake], wakes: int) -> None:
    """Wake one pool of each contender after the other, those of a turn in one random order after the other."""
    chance = random.Random(1)  # noqa: S311 - the same order in every run
    for number in range(wakes):
        turn = [f"{contender.agent}-{number}" for contender in _CONTENDERS]
        chance.shuffle(turn)
        for pool in turn:
            found[pool].submitted = time.monotonic()
            async with client.pipeline(transaction=False) as pipeline:
                for _ in range(_TASKS):
                    pipeline.execute_command("XADD", _queue(pool).stream, "*", "prompt", "x")
                await pipeline.execute()
        await asyncio.sleep(_GAP_SECONDS)


async def _all_scaled(found: Mapping[str, _Wake]) -> None:
    deadline = time.monotonic() + _LONGEST_SECONDS
    while missing := [pool for pool, wake in found.items() if _WANTED not in wake.reached]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"these pools never had {_WANTED} replicas: {', '.join(missing)}")
        await asyncio.sleep(0.5)


def _report(report: Report, found: Mapping[str, list[_Wake]]) -> None:
    bars = {(_ARK.name, _FIRST): (Bar("<=", 100), Bar("<=", 250))}
    medians: dict[tuple[str, int], float] = {}
    for replicas, what in ((_FIRST, "first replica"), (_WANTED, f"all {_WANTED} replicas")):
        for name, wakes in found.items():
            milliseconds = Percentiles.of([wake.seconds(replicas) * 1000 for wake in wakes])
            medians[name, replicas] = milliseconds.p50
            p50_bar, p99_bar = bars.get((name, replicas), (None, None))
            report.add(f"{name}: {what}, p50", milliseconds.p50, "ms", p50_bar)
            report.add(f"{name}: {what}, p99", milliseconds.p99, "ms", p99_bar)
        for rival in (_KEDA.name, _KEDA_5.name):
            ratio = medians[rival, replicas] / medians[_ARK.name, replicas]
            report.add(f"{rival} / ark: {what}, p50", ratio, "ratio")
