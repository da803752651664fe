"""How soon a pool at zero works on a real node, and on the process node beside it; and how soon its Pods start.

Both clusters run in one sandbox and take turns. One wake adds a task that takes no time to the queue of a pool at zero.
Measured from just before the XADD, in this process:

- *first replica*: a watch on the API server sees ``spec.replicas`` at 1;
- *Pod runs*: a watch sees its container running;
- *result*: the result is there, looked for every 10 ms: a worker has started, and done a task that takes no time.

A start is measured on the real node, from the creation of a Pod whose image is there: until the kernel has started its
process (by ``/proc``, 10 ms), and from there until ``/readyz`` answers 200, asked every 10 ms. What a pull adds is
measured from a registry on this machine: all of the image, without a network's time.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

from ark_taskqueue import Client, Producer, QueueKeys, connect
from hack.bench import registry
from hack.bench.report import Bar, Percentiles, Report
from hack.cluster import api, manifests, programs
from hack.cluster.access import Access, local
from hack.cluster.api import DEPLOYMENTS, PODS, SCALED_OBJECTS, Api, ApiError, Object
from hack.cluster.containers import entry, images, node
from hack.cluster.control_plane import answers
from hack.cluster.manifests import Scaling
from hack.cluster.process_cluster import ProcessCluster

_T = TypeVar("_T")

NEEDS_NODE = True
_NAMESPACE = "bench"
_REAL, _PROCESSES = "real node", "process node"
_LONGEST_SECONDS = 120.0
_READY_BAR = Bar("<=", 1500)
_SIZE_BAR = Bar("<=", 300)
_AS_FAST = Bar("<=", 1.5)
"""The two clusters share two cores, and the noise of a single median."""


@dataclass(slots=True)
class _Wake:
    """What came when after a task was submitted; monotonic seconds."""

    submitted: float = 0.0
    seen: dict[str, float] = field(default_factory=dict)

    def milliseconds(self, what: str) -> float:
        return (self.seen[what] - self.submitted) * 1000


@dataclass(slots=True)
class _Place:
    """One cluster, with Redis and a scaler."""

    access: Access
    connected: Api
    redis_url: str
    redis: Client
    scaler: str


async def run(report: Report) -> None:
    """Run the benchmark; in a sandbox."""
    wakes, starts = (4, 3) if report.quick else (20, 10)
    report.software = {
        "kubernetes": programs.KUBERNETES.version,
        "keda": programs.KEDA.version,
        "coredns": programs.COREDNS.version,
    }
    # Archives have layers as they lie on a node's disk, not compressed as in a registry.
    size = (entry.images_folder() / images.PROJECT_ARCHIVE).stat().st_size
    report.add("image, not compressed", size / 1e6, "MB", _SIZE_BAR)
    with tempfile.TemporaryDirectory(prefix="ark-bench-", ignore_cleanup_errors=True) as folder:
        clusters = {
            _REAL: entry.real_cluster(Path(folder) / "real"),
            _PROCESSES: ProcessCluster(Path(folder) / "processes"),
        }
        try:
            async with AsyncExitStack() as stack:
                places = {}
                for name, cluster in clusters.items():
                    await asyncio.to_thread(cluster.start)
                    # A real node's Services have names, as on any cluster.
                    access = local(cluster.state) if name == _PROCESSES else Access(cluster.kubectl)
                    places[name] = await _deployed(access, stack)
                _report_wakes(report, await _wakes(places, wakes))
                for program in ("ark-scaler", "ark-agent"):
                    await _report_starts(report, places[_REAL], program, starts)
                await _report_pulls(report, Path(folder) / "layout", starts)
        finally:
            for cluster in clusters.values():
                await asyncio.to_thread(cluster.stop)


async def _deployed(access: Access, stack: AsyncExitStack) -> _Place:
    apply = access.kubectl.apply
    await asyncio.to_thread(apply, [manifests.namespace(_NAMESPACE), *manifests.redis(_NAMESPACE)])
    await asyncio.to_thread(access.wait_ready, _NAMESPACE, manifests.REDIS)
    address = await asyncio.to_thread(access.address, _NAMESPACE, manifests.REDIS, manifests.REDIS_PORT)
    url = f"redis://{address}/0"
    await asyncio.to_thread(apply, manifests.scaler(_NAMESPACE, url))
    await asyncio.to_thread(access.wait_ready, _NAMESPACE, manifests.SCALER)
    scaler = await asyncio.to_thread(access.address, _NAMESPACE, manifests.SCALER, manifests.SCALER_PORT)
    connected = await stack.enter_async_context(api.connect(access.kubectl.kubeconfig))
    redis = connect(url)
    stack.push_async_callback(redis.aclose)
    return _Place(access, connected, url, redis, scaler)


async def _wakes(places: Mapping[str, _Place], number: int) -> Mapping[str, list[_Wake]]:
    found: dict[str, list[_Wake]] = {name: [] for name in places}
    chance = random.Random(1)  # noqa: S311 - the same order in every run
    for turn in range(number):
        order = list(places)
        chance.shuffle(order)
        for name in order:
            found[name].append(await _wake(places[name], f"writer-{turn}"))
        print(f"  wake {turn + 1} of {number}", file=sys.stderr, flush=True)
    return found


async def _wake(place: _Place, agent: str) -> _Wake:
    """Make a pool at zero, wake it, and remove it."""
    trigger = manifests.ark_trigger(place.scaler, queue=f"{_NAMESPACE}/{agent}", tasksPerReplica="5")
    objects = [
        manifests.workers(_NAMESPACE, agent, place.redis_url),
        manifests.scaled_object(_NAMESPACE, agent, [trigger], Scaling()),
    ]
    await asyncio.to_thread(place.access.kubectl.apply, objects)
    wake = _Wake()
    try:
        async with asyncio.timeout(_LONGEST_SECONDS), asyncio.TaskGroup() as group:
            await _until(lambda: _taken(place.connected, agent))
            watching = [
                group.create_task(_watch(place.connected, DEPLOYMENTS.path(_NAMESPACE), wake, _raised(agent))),
                group.create_task(_watch(place.connected, PODS.path(_NAMESPACE), wake, _runs(agent))),
            ]
            await asyncio.sleep(1.0)  # the watches are open, and KEDA listens
            producer = Producer(place.redis, QueueKeys.for_agent(_NAMESPACE, agent))
            wake.submitted = time.monotonic()
            submission = await producer.submit("x", meta={"latency_seconds": 0})
            # Producer.wait_for_result looks once a second at last, which is what would be measured.
            await _until(lambda: producer.result(submission.task_id), every=0.01)
            wake.seen[_RESULT] = time.monotonic()
            await _until(lambda: _all_seen(wake))
            for task_of in watching:
                task_of.cancel()
    finally:
        for kind, name in (("scaledobject", agent), ("deployment", f"{agent}-agent")):
            await asyncio.to_thread(place.access.kubectl.run, "delete", kind, name, "-n", _NAMESPACE, "--wait=true")
    return wake


async def _until(look: Callable[[], Awaitable[_T | None]], every: float = 0.05) -> _T:
    """Look again and again until there is something; return it."""
    while True:
        if found := await look():
            return found
        await asyncio.sleep(every)


async def _all_seen(wake: _Wake) -> bool:
    return len(wake.seen) == len(_SEEN)


async def _taken(connected: Api, agent: str) -> bool:
    """Return whether KEDA has set up the ScaledObject."""
    scaled = await connected.get(SCALED_OBJECTS.path(_NAMESPACE, agent))
    conditions = scaled.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


_FIRST, _RUNS, _RESULT = _SEEN = ("first replica", "Pod runs", "result")


async def _watch(connected: Api, path: str, wake: _Wake, seen: Callable[[Object], str | None]) -> None:
    """Note what is seen, until cancelled."""
    async for event in connected.watch(path):
        if (what := seen(event.object)) is not None:
            wake.seen.setdefault(what, time.monotonic())


def _raised(agent: str) -> Callable[[Object], str | None]:
    return lambda item: _FIRST if item["metadata"]["name"] == f"{agent}-agent" and item["spec"]["replicas"] else None


def _runs(agent: str) -> Callable[[Object], str | None]:
    def seen(pod: Object) -> str | None:
        if pod["metadata"]["labels"].get("app") != f"{agent}-agent":
            return None
        statuses = pod.get("status", {}).get("containerStatuses", [])
        return _RUNS if any("running" in status["state"] for status in statuses) else None

    return seen


def _report_wakes(report: Report, found: Mapping[str, list[_Wake]]) -> None:
    medians: dict[tuple[str, str], float] = {}
    for what in _SEEN:
        for name, wakes in found.items():
            milliseconds = Percentiles.of([wake.milliseconds(what) for wake in wakes])
            medians[name, what] = milliseconds.p50
            report.add(f"{name}: {what}, p50", milliseconds.p50, "ms")
            report.add(f"{name}: {what}, p95", milliseconds.p95, "ms")
        ratio = medians[_REAL, what] / medians[_PROCESSES, what]
        report.add(f"{_REAL} / {_PROCESSES}: {what}, p50", ratio, "ratio", _AS_FAST if what == _FIRST else None)


async def _report_pulls(report: Report, layout: Path, number: int) -> None:
    size = await asyncio.to_thread(images.lay_out, layout)
    report.add("image, compressed", size / 1e6, "MB")
    seconds = []
    async with registry.serving(layout) as port:
        for turn in range(number):
            began = time.monotonic()
            await asyncio.to_thread(node.pull, f"127.0.0.1:{port}/ark:pulled", f"pull-{turn}")
            seconds.append((time.monotonic() - began) * 1000)
    milliseconds = Percentiles.of(seconds)
    report.add("pull, without a network, p50", milliseconds.p50, "ms")
    report.add("pull, without a network, p95", milliseconds.p95, "ms")


async def _report_starts(report: Report, place: _Place, program: str, number: int) -> None:
    runs: list[float] = []
    ready: list[float] = []
    for _ in range(number):
        for values, value in zip((runs, ready), await _start(place, program), strict=True):
            values.append(value)
    for what, values, bar in (("its process runs", runs, None), ("then ready", ready, _READY_BAR)):
        milliseconds = Percentiles.of(values)
        report.add(f"{program}: {what}, p50", milliseconds.p50, "ms", bar if program == "ark-scaler" else None)
        report.add(f"{program}: {what}, p95", milliseconds.p95, "ms")


async def _start(place: _Place, program: str) -> tuple[float, float]:
    """Return how long a new Pod takes to its process, and its process until it is ready; milliseconds."""
    name = f"start-{uuid.uuid4().hex[:6]}"
    variables = {
        "ARK_SCALER_REDIS": place.redis_url,
        "AGENT_REDIS": place.redis_url,
        "AGENT_QUEUE": f"{_NAMESPACE}/nothing",
        "AGENT_NAME": name,
    }
    container = {
        "name": "main",
        "image": manifests.IMAGE,
        "command": [program],
        "env": [{"name": key, "value": value} for key, value in variables.items()],
    }
    pod = {
        "metadata": {"name": name},
        "spec": {"containers": [container], "automountServiceAccountToken": False, "enableServiceLinks": False},
    }
    path = PODS.path(_NAMESPACE, name)
    created = time.clock_gettime(time.CLOCK_BOOTTIME)
    uid = (await place.connected.create(PODS.path(_NAMESPACE), pod))["metadata"]["uid"]
    try:
        async with asyncio.timeout(_LONGEST_SECONDS):
            started = await _until(lambda: asyncio.to_thread(_process_of, uid, program))
            ip = await _until(lambda: _address(place.connected, path))
            await _until(lambda: asyncio.to_thread(answers, f"http://{ip}:8080/readyz"), every=0.01)
            ready = time.clock_gettime(time.CLOCK_BOOTTIME)
    finally:
        await place.connected.delete(path, {"gracePeriodSeconds": 0})
        async with asyncio.timeout(_LONGEST_SECONDS):
            await _until(lambda: _gone(place.connected, path))
    return (started - created) * 1000, (ready - started) * 1000


async def _address(connected: Api, path: str) -> str | None:
    address: str | None = (await connected.get(path)).get("status", {}).get("podIP")
    return address


async def _gone(connected: Api, path: str) -> bool:
    try:
        await connected.get(path)
    except ApiError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return True
    return False


def _process_of(uid: str, program: str) -> float | None:
    """Return when the process of a Pod's container started, in seconds since the machine did; None before."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"pod{uid}" not in (folder / "cgroup").read_text():
                continue
            if program.encode() not in (folder / "cmdline").read_bytes():
                continue
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        return int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return None
