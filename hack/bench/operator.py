"""How soon many ArkAgents have their children, what an idle operator costs, and how soon a burst is there.

| part | on | what |
|---|---|---|
| many | API server and controller manager | 1,000 ArkAgents at once, until every Deployment and status is there |
| bare | the same | the same writes (create, Deployment, status) sent by the same client without an operator |
| idle | the same | API writes and Redis pipelines of five minutes in which nothing happens |
| memory | the same | resident memory at 5,000 agents |
| burst | the whole process cluster, with KEDA, scaler and HPA | see `hack.bench.burst` |

The operator is a process of its own with exactly the rights of its manifests. Everything shares the machine's cores.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil

from ark_operator.cluster.kinds import ARK_AGENTS, DEPLOYMENTS, SCALED_OBJECTS
from ark_operator.decision.agent import Agent
from ark_operator.decision.decide import decide
from ark_operator.decision.observed import Observed
from ark_operator.decision.options import Options
from hack.bench import burst
from hack.bench.report import Bar, Report
from hack.cluster import api, manifests, operator_manifests, programs
from hack.cluster.api import Api, Object
from hack.cluster.component import Components
from hack.cluster.control_plane import ControlPlane
from hack.local.operator_process import OperatorProcess
from hack.local.redis_server import RedisServer

_SENDERS = 20
"""As many as the operator has workers."""
_DEADLINE_SECONDS = 600.0
_SETTLE_SECONDS = 15.0
_STATUS_SECONDS = 5.0
"""The operator's default."""
_TURNS = 3
_OPERATORS = ("arkagents", "arkagents/status", "deployments", "deployments/scale", "scaledobjects", "events")
"""What the operator may write. Statuses of Deployments and ReplicaSets are the controller manager's, which works its
own queue off at 20 calls a second, long after the operator is done."""
_WRITES = frozenset({"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"})


@dataclass(slots=True)
class _Plane:
    """An API server with a controller manager, a Redis, and an operator on them."""

    control_plane: ControlPlane
    api: Api
    folder: Path
    redis: RedisServer
    stack: AsyncExitStack
    running: OperatorProcess | None = None

    async def start_operator(self) -> None:
        """Start the operator, and wait until it leads."""
        settings = {
            "kubeconfig": str(self.control_plane.kubeconfig_for(operator_manifests.user())),
            "redis": self.redis.url,
            "status-seconds": str(_STATUS_SECONDS),
        }
        self.running = await asyncio.to_thread(OperatorProcess, self.folder, settings)
        self.stack.enter_context(self.running)
        await asyncio.to_thread(self.running.wait_until, lambda: self.operator.leads, 60, "the operator leading")

    @property
    def operator(self) -> OperatorProcess:
        """The operator's process."""
        assert self.running is not None
        return self.running

    async def clear(self, namespace: str) -> None:
        """Delete a namespace's agents and their children; the garbage collector would do 20 of them a second."""
        for kind in (ARK_AGENTS, SCALED_OBJECTS, DEPLOYMENTS):
            await self.api.delete(kind.path(namespace))
        async with asyncio.timeout(_DEADLINE_SECONDS):
            for kind in (ARK_AGENTS, DEPLOYMENTS, SCALED_OBJECTS):
                while (await self.api.get(kind.path(namespace), limit="1"))["items"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.2)

    def metric(self, pattern: str) -> float:
        """Return the sum of the operator's samples whose name and labels match."""
        return _sum(f"http://127.0.0.1:{self.operator.http_port}/metrics", pattern)

    async def writes(self) -> Mapping[str, float]:
        """Return how many writes the API server has taken, by resource."""
        text = await asyncio.to_thread(self.control_plane.kubectl.run, "get", "--raw", "/metrics")
        found: dict[str, float] = {}
        for line in text.splitlines():
            match = re.match(r"apiserver_request_total\{(.*)\} (\S+)", line)
            if match is None:
                continue
            labels = dict(re.findall(r'(\w+)="([^"]*)"', match[1]))
            if labels["verb"] in _WRITES:
                name = f"{labels['resource']}/{labels['subresource']}".rstrip("/")
                found[name] = found.get(name, 0.0) + float(match[2])
        return found


async def run(report: Report) -> None:
    """Run the benchmark."""
    many = 200 if report.quick else 1000
    report.software = {"kubernetes": programs.KUBERNETES.version, "keda": programs.KEDA.version}
    async with _plane() as plane:
        await _many(plane, report, many)
        await _idle(plane, report, 20.0 if report.quick else 300.0)
        await _memory(plane, report, 5 * many)
    await burst.run(report)


async def _many(plane: _Plane, report: Report, many: int) -> None:
    """Create many agents, static and autoscaled, and send the same writes bare."""
    bare = [await _bare(plane, f"bare-{turn}", many) for turn in range(_TURNS)]
    await plane.start_operator()
    static = []
    for turn in range(_TURNS):
        static.append(await _created(plane, f"static-{turn}", many, replicas=0))
        await plane.clear(f"static-{turn}")
    took, plain = statistics.median(static), statistics.median(bare)
    full = many == 1000
    report.add(f"{many} agents until all is there", took, "s", Bar("<=", 10) if full else None)
    report.add("the same API writes, bare", plain, "s")
    report.add("with the operator / bare", took / plain, "ratio", Bar("<=", 2))
    scaled = await _created(plane, "scaled", many, autoscaling={})
    report.add(f"{many} autoscaled agents until all is there", scaled, "s", Bar("<=", 20) if full else None)


async def _created(plane: _Plane, namespace: str, many: int, **spec: Any) -> float:
    """Create agents all at once, and return the seconds until their children and statuses are there."""
    await plane.api.create("/api/v1/namespaces", manifests.namespace(namespace))
    path = ARK_AGENTS.path(namespace)
    kinds = [DEPLOYMENTS, *([SCALED_OBJECTS] if "autoscaling" in spec else [])]
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        finished = [group.create_task(_all_there(plane.api, kind.path(namespace), many, _is_there)) for kind in kinds]
        finished.append(group.create_task(_all_there(plane.api, path, many, _has_conditions)))
        await _sent(many, lambda number: plane.api.create(path, _agent(namespace, number, **spec)))
    return max(task.result() for task in finished) - began


async def _bare(plane: _Plane, namespace: str, many: int) -> float:
    """Send the writes that `_created` leads to, in their order for each agent."""
    await plane.api.create("/api/v1/namespaces", manifests.namespace(namespace))
    options = Options(image="ark:bench", scaler_address="scaler:6000", agent_secret="keys")  # noqa: S106 - a name

    async def send(number: int) -> None:
        made = Agent(await plane.api.create(ARK_AGENTS.path(namespace), _agent(namespace, number, replicas=0)))
        plan = decide(made, Observed(), None, datetime.now(UTC), options)
        assert plan.create is not None
        await plane.api.create(DEPLOYMENTS.path(namespace), plan.create)
        patch = [{"op": "add", "path": "/status", "value": plan.status}]
        await plane.api.patch(ARK_AGENTS.path(namespace, f"a{number}", "status"), patch, "json")

    began = time.monotonic()
    await _sent(many, send)
    took = time.monotonic() - began
    await plane.clear(namespace)
    return took


async def _idle(plane: _Plane, report: Report, seconds: float) -> None:
    """Let nothing happen, and count."""
    await asyncio.sleep(_SETTLE_SECONDS)
    before, pipelines = await plane.writes(), plane.metric("ark_operator_queue_pipelines_total")
    processor = sum(psutil.Process(plane.operator.pid).cpu_times()[:2])
    await asyncio.sleep(seconds)
    after = await plane.writes()
    written = sum(after.get(name, 0) - before.get(name, 0) for name in _OPERATORS)
    report.add(f"idle {seconds:g} s: API writes besides lease renewals", written, "writes", Bar("<=", 0))
    looks = (plane.metric("ark_operator_queue_pipelines_total") - pipelines) / (seconds / _STATUS_SECONDS)
    # One more look than intervals fits between two moments.
    report.add("idle: Redis pipelines for each interval", looks, "", Bar("<=", 1 + 1.5 * _STATUS_SECONDS / seconds))
    spent = sum(psutil.Process(plane.operator.pid).cpu_times()[:2]) - processor
    report.add("idle: processor time", 100 * spent / seconds, "% of a core")


async def _memory(plane: _Plane, report: Report, agents: int) -> None:
    there = len((await plane.api.get(ARK_AGENTS.path()))["items"])
    await _created(plane, "memory", agents - there, autoscaling={})
    await asyncio.sleep(_SETTLE_SECONDS)
    resident = psutil.Process(plane.operator.pid).memory_info().rss / 1e6
    report.add(f"resident memory at {agents} autoscaled agents", resident, "MB", Bar("<=", 250))


async def _sent(many: int, send: Callable[[int], Awaitable[Any]]) -> None:
    numbers = iter(range(many))

    async def sender() -> None:
        for number in numbers:
            await send(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(_SENDERS):
            group.create_task(sender())


async def _all_there(client: Api, path: str, many: int, there: Callable[[Object], bool]) -> float:
    """Wait until so many objects are as they should be; return the moment, monotonic seconds."""
    found: set[str] = set()
    async with asyncio.timeout(_DEADLINE_SECONDS), aclosing(client.watch(path)) as events:
        async for event in events:
            if there(event.object):
                found.add(event.object["metadata"]["name"])
            if len(found) == many:
                return time.monotonic()
    raise AssertionError("unreachable")


def _is_there(_: Object) -> bool:
    return True


def _has_conditions(item: Object) -> bool:
    status = item.get("status", {})
    return bool(status.get("conditions")) and status.get("observedGeneration") == item["metadata"]["generation"]


def _agent(namespace: str, number: int, **spec: Any) -> Object:
    values = {"model": "claude-sonnet-4-20250514", "systemPrompt": "You answer questions briefly.", **spec}
    return operator_manifests.agent(namespace, f"a{number}", **values)


def _sum(url: str, pattern: str) -> float:
    with urlopen(url, timeout=30) as answer:  # noqa: S310 - loopback
        text = answer.read().decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if re.match(pattern, line))


@asynccontextmanager
async def _plane() -> AsyncIterator[_Plane]:
    built = await asyncio.to_thread(programs.ensure, (programs.ETCD, programs.KUBERNETES, programs.KEDA))
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ark-bench-", ignore_cleanup_errors=True)))
        components = Components(folder)
        stack.callback(components.stop)
        control_plane = ControlPlane(folder, built, services="10.0.0.0/24")
        await asyncio.to_thread(control_plane.start, components)
        await asyncio.to_thread(operator_manifests.install, control_plane)
        objects = [manifests.namespace(operator_manifests.NAMESPACE), *operator_manifests.rbac()]
        await asyncio.to_thread(control_plane.kubectl.apply, objects)
        redis = stack.enter_context(RedisServer(folder / "redis"))
        connected = await stack.enter_async_context(api.connect(control_plane.admin))
        yield _Plane(control_plane, connected, folder, redis, stack)
