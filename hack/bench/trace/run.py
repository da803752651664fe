"""Plays a stretch for one contender, on a cluster of its own."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ark_cli.trace import Arrival
from ark_taskqueue import Client, Producer, TaskQueueError, connect, read_depths
from ark_taskqueue.tasks.task import decoded, milliseconds_of, text
from hack.bench.deploy import deploy
from hack.bench.generated import service_seconds
from hack.bench.trace.contenders import AGENT, NAMESPACE, QUEUE, Contender
from hack.bench.trace.learning import learned
from hack.bench.trace.result import Note, Run, Sample
from hack.bench.trace.worker import NOTES
from hack.cluster import api
from hack.cluster.access import local
from hack.cluster.api import DEPLOYMENTS, PODS, SCALED_OBJECTS, Api
from hack.cluster.process_cluster import ProcessCluster
from hack.demo.clock import DemoClock
from hack.demo.load import Load
from hack.local.process import ChildProcess

_SAMPLE_SECONDS = 1.0
_SETTLE_SECONDS = 40.0
"""More than a poll: the pool was looked at and left at zero."""
_SET_UP_SECONDS = 120.0
_DRAIN_SECONDS = 900.0
"""From the last arrival until every task is done; 219 at a time and the longest one's 192 s fit in."""
_ZERO_SECONDS = 700.0
"""From there to zero: the cooldown and the HPA's window are 300 s each."""


async def play(
    contender: Contender,
    arrivals: Sequence[Arrival],
    before: Sequence[Arrival],
    start_seconds: float,
    worked: asyncio.Event,
) -> Run:
    """Play a stretch, and return what came of it.

    Args:
        contender: who scales the pool.
        arrivals: of the stretch.
        before: what came before it, for a contender that learns.
        start_seconds: from a Pod's start until it takes tasks.
        worked: set once every task is done and all that is left is the pool's way to zero.

    Raises:
        TimeoutError: tasks were left over, or the pool did not go to zero.
    """
    with (
        tempfile.TemporaryDirectory(prefix="ark-bench-", ignore_cleanup_errors=True) as folder,
        _nursery(folder, start_seconds) as socket,
    ):
        cluster = ProcessCluster(Path(folder) / "cluster")
        try:
            await asyncio.to_thread(cluster.start)
            access = local(cluster.state)
            redis = await deploy(access, NAMESPACE)
            client = connect(f"redis://{redis}/0", max_connections=100)
            try:
                async with api.connect(access.kubectl.kubeconfig) as connected:
                    # KEDA's scaler wants the group to be there; ours makes no difference.
                    await client.execute_command("XGROUP", "CREATE", QUEUE.stream, QUEUE.group, "0", "MKSTREAM")
                    await asyncio.to_thread(access.kubectl.apply, contender.objects(redis, socket))
                    await _taken(connected)
                    chosen = await learned(connected, client, before, start_seconds) if contender.learns else None
                    run = await _played(contender, arrivals, connected, client, worked)
                    return replace(run, setting=chosen or contender.setting)
            finally:
                await client.aclose()
        finally:
            await asyncio.to_thread(cluster.stop)


@contextmanager
def _nursery(folder: str, start_seconds: float) -> Iterator[Path]:
    socket = Path(folder) / "nursery"
    command = [sys.executable, "-m", "hack.bench.trace.nursery", str(socket), f"{start_seconds:g}"]
    with ChildProcess(command, Path(folder) / "nursery.log") as process:
        process.wait_until(lambda: "ready" in process.output(), _SET_UP_SECONDS, "the nursery")
        yield socket


@dataclass(slots=True)
class _Pool:
    """The Deployment's numbers, as a watch saw them last."""

    wanted: int = 0
    replicas: int = 0
    ready: int = 0
    pods: set[str] = field(default_factory=set)
    """Those that end but still work too."""

    async def follow_pods(self, connected: Api) -> None:
        """Follow the Pods until cancelled."""
        async for event in connected.watch(PODS.path(NAMESPACE)):
            name = event.object["metadata"]["name"]
            if name.startswith(f"{AGENT}-agent-"):
                (self.pods.discard if event.type == "DELETED" else self.pods.add)(name)

    async def follow(self, connected: Api) -> None:
        """Follow the Deployment until cancelled."""
        async for event in connected.watch(DEPLOYMENTS.path(NAMESPACE)):
            if event.object["metadata"]["name"] != f"{AGENT}-agent":
                continue
            status: dict[str, Any] = event.object.get("status") or {}
            self.wanted = event.object["spec"]["replicas"]
            self.replicas, self.ready = status.get("replicas") or 0, status.get("readyReplicas") or 0


@dataclass(slots=True)
class _Recorder:
    """Samples of queue and pool."""

    client: Client
    pool: _Pool
    began: float
    name: str
    samples: list[Sample] = field(default_factory=list)

    async def run(self) -> None:
        """Take a sample every second until cancelled."""
        number = 0
        while True:
            [depth] = await read_depths(self.client, [QUEUE])
            if isinstance(depth, TaskQueueError):
                raise depth
            at = time.monotonic() - self.began
            pool = self.pool
            taken = Sample(at, depth.waiting, depth.in_flight, pool.replicas, pool.ready, len(pool.pods))
            self.samples.append(taken)
            number += 1
            if number % 60 == 0:
                print(f"  {self.name}: {self.samples[-1]}", file=sys.stderr, flush=True)
            await asyncio.sleep(max(0.0, self.began + number * _SAMPLE_SECONDS - time.monotonic()))


async def _played(
    contender: Contender, arrivals: Sequence[Arrival], connected: Api, client: Client, worked: asyncio.Event
) -> Run:
    await asyncio.sleep(_SETTLE_SECONDS)
    pool, producer = _Pool(), Producer(client, QUEUE)
    load = Load(producer, arrivals, DemoClock(1.0), lambda arrival: service_seconds(arrival.output_tokens))
    async with asyncio.TaskGroup() as group:
        following = [group.create_task(follow(connected)) for follow in (pool.follow, pool.follow_pods)]
        recorder = _Recorder(client, pool, time.monotonic(), contender.key)
        recording = group.create_task(recorder.run())
        await load.run()
        await _until(lambda: not recorder.samples[-1].waiting + recorder.samples[-1].in_flight, _DRAIN_SECONDS)
        worked.set()
        await _until(lambda: not pool.wanted + pool.replicas, _ZERO_SECONDS)
        await asyncio.sleep(2 * _SAMPLE_SECONDS)
        recording.cancel()
        for task in following:
            task.cancel()
    submitted = {task: milliseconds_of(task) / 1000 for task in load.task_ids}
    completed = [task for task in submitted if await producer.result(task) is not None]
    return Run(submitted, await _notes(client), recorder.samples, frozenset(completed))


async def _until(reached: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await asyncio.sleep(2 * _SAMPLE_SECONDS)
        while not reached():  # noqa: ASYNC110 - looked at as often as samples are taken
            await asyncio.sleep(_SAMPLE_SECONDS)


async def _taken(connected: Api) -> None:
    """Wait until KEDA looks at the queue."""
    async with asyncio.timeout(_SET_UP_SECONDS):
        while True:
            listed = (await connected.get(SCALED_OBJECTS.path(NAMESPACE)))["items"]
            if any((item.get("status") or {}).get("externalMetricNames") for item in listed):
                return
            await asyncio.sleep(0.5)


async def _notes(client: Client) -> list[Note]:
    found = []
    for entry_id, stored in await client.execute_command("XRANGE", NOTES, "-", "+"):
        fields = decoded(stored)
        at = milliseconds_of(text(entry_id)) / 1000
        found.append(Note(fields["task"], "begin" if fields["what"] == "begin" else "end", at))
    return found
