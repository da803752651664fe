"""Plays a stretch for one contender, on a cluster of its own."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ark_taskqueue import Client, Producer, TaskQueueError, connect, read_depths
from ark_taskqueue.tasks.task import decoded, milliseconds_of, text
from hack.bench.deploy import deploy
from hack.bench.trace.contenders import AGENT, NAMESPACE, QUEUE, Contender
from hack.bench.trace.result import Note, Run, Sample
from hack.bench.trace.worker import NOTES
from hack.cluster import api
from hack.cluster.access import Access, local
from hack.cluster.api import DEPLOYMENTS, SCALED_OBJECTS, Api
from hack.cluster.process_cluster import ProcessCluster
from hack.demo.clock import DemoClock
from hack.demo.load import Load
from hack.demo.trace import Arrival
from hack.local.process import ChildProcess

_SAMPLE_SECONDS = 1.0
_SETTLE_SECONDS = 40.0
"""More than a poll: the pool was looked at and left at zero."""
_SET_UP_SECONDS = 120.0
_DRAIN_SECONDS = 900.0
"""From the last arrival until every task is done; 219 at a time and the longest one's 192 s fit in."""
_ZERO_SECONDS = 700.0
"""From there to zero: the cooldown and the HPA's window are 300 s each."""


def service_seconds(arrival: Arrival) -> float:
    """Return how long a request takes a worker: 2 s, and 0.1 s for each token that is written."""
    return 2.0 + 0.1 * arrival.output_tokens


async def play(contender: Contender, arrivals: Sequence[Arrival], worked: asyncio.Event) -> Run:
    """Play a stretch, and return what came of it.

    ``worked`` is set once every task is done and all that is left is the pool's way to zero.

    Raises:
        TimeoutError: tasks were left over, or the pool did not go to zero.
    """
    with (
        tempfile.TemporaryDirectory(prefix="ark-bench-", ignore_cleanup_errors=True) as folder,
        _nursery(folder) as socket,
    ):
        cluster = ProcessCluster(Path(folder) / "cluster")
        try:
            await asyncio.to_thread(cluster.start)
            access = local(cluster.state)
            redis = await deploy(access, NAMESPACE)
            client = connect(f"redis://{redis}/0", max_connections=100)
            try:
                async with api.connect(access.kubectl.kubeconfig) as connected:
                    return await _played(contender, arrivals, access, connected, client, redis, socket, worked)
            finally:
                await client.aclose()
        finally:
            await asyncio.to_thread(cluster.stop)


@contextmanager
def _nursery(folder: str) -> Iterator[Path]:
    socket = Path(folder) / "nursery"
    command = [sys.executable, "-m", "hack.bench.trace.nursery", str(socket)]
    with ChildProcess(command, Path(folder) / "nursery.log") as process:
        process.wait_until(lambda: "ready" in process.output(), _SET_UP_SECONDS, "the nursery")
        yield socket


@dataclass(slots=True)
class _Pool:
    """The Deployment's numbers, as a watch saw them last."""

    wanted: int = 0
    replicas: int = 0
    ready: int = 0

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
            self.samples.append(Sample(at, depth.waiting, depth.in_flight, self.pool.replicas, self.pool.ready))
            number += 1
            if number % 60 == 0:
                print(f"  {self.name}: {self.samples[-1]}", file=sys.stderr, flush=True)
            await asyncio.sleep(max(0.0, self.began + number * _SAMPLE_SECONDS - time.monotonic()))


async def _played(
    contender: Contender,
    arrivals: Sequence[Arrival],
    access: Access,
    connected: Api,
    client: Client,
    redis: str,
    nursery: Path,
    worked: asyncio.Event,
) -> Run:
    # KEDA's scaler wants the group to be there; ours makes no difference.
    await client.execute_command("XGROUP", "CREATE", QUEUE.stream, QUEUE.group, "0", "MKSTREAM")
    await asyncio.to_thread(access.kubectl.apply, contender.objects(redis, nursery))
    await _taken(connected)
    await asyncio.sleep(_SETTLE_SECONDS)
    pool, producer = _Pool(), Producer(client, QUEUE)
    load = Load(producer, arrivals, DemoClock(1.0), service_seconds)
    async with asyncio.TaskGroup() as group:
        following = group.create_task(pool.follow(connected))
        recorder = _Recorder(client, pool, time.monotonic(), contender.key)
        recording = group.create_task(recorder.run())
        await load.run()
        await _until(lambda: not recorder.samples[-1].waiting + recorder.samples[-1].in_flight, _DRAIN_SECONDS)
        worked.set()
        await _until(lambda: not pool.wanted + pool.replicas, _ZERO_SECONDS)
        await asyncio.sleep(2 * _SAMPLE_SECONDS)
        recording.cancel()
        following.cancel()
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
