"""How soon `kubectl ark status` shows many agents, beside plain `kubectl get` of the same.

1,000 ArkAgents with statuses and Deployments as an operator writes them, on a real API server; each has a queue with a
waiting task in a real Redis, whose address the Deployments have. The program is started anew each time, as people do.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from ark_operator.cluster.kinds import ARK_AGENTS, DEPLOYMENTS
from ark_operator.decision import deployment
from ark_operator.decision.agent import Agent
from ark_operator.decision.options import Options
from ark_taskqueue import Producer, QueueKeys, connect
from hack.bench.report import Bar, Report
from hack.cluster import api, manifests, operator_manifests, programs
from hack.cluster.api import Api
from hack.cluster.component import Components
from hack.cluster.control_plane import ControlPlane
from hack.local.redis_server import RedisServer

_NAMESPACE = "many"
_SENDERS = 20
_PROGRAM = Path(sys.executable).parent / "kubectl-ark"


async def run(report: Report) -> None:
    """Run it."""
    agents, times = (100, 3) if report.quick else (1000, 15)
    built = await asyncio.to_thread(programs.ensure, (programs.ETCD, programs.KUBERNETES, programs.KEDA))
    report.software |= {"kubernetes": programs.KUBERNETES.version}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ark-bench-", ignore_cleanup_errors=True)))
        components = Components(folder)
        stack.callback(components.stop)
        plane = ControlPlane(folder, built, services="10.0.0.0/24")
        await asyncio.to_thread(plane.start_api_server, components)
        await asyncio.to_thread(operator_manifests.install, plane)
        await asyncio.to_thread(plane.kubectl.apply, [manifests.namespace(_NAMESPACE)])
        redis = stack.enter_context(RedisServer(folder / "redis"))
        async with api.connect(plane.admin) as client:
            await _make(client, redis.url, agents)
        kubectl = plane.kubectl
        environment = {
            **os.environ,
            "KUBECONFIG": str(kubectl.kubeconfig),
            "PATH": f"{kubectl.program.parent}{os.pathsep}{os.environ['PATH']}",
        }
        contenders = {
            "kubectl ark status": [str(_PROGRAM), "status", "-A"],
            "kubectl ark status, Redis named": [str(_PROGRAM), "status", "-A", "--redis-url", redis.url],
            "kubectl ark status, without Redis": [str(_PROGRAM), "status", "-A", "--no-redis"],
            "kubectl get arkagents": [str(kubectl.program), "get", "arkagents", "-A"],
        }
        took: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(times):  # side by side
            for name, command in contenders.items():
                took[name].append(await asyncio.to_thread(_timed, command, environment, agents))
    for name, samples in took.items():
        bar = Bar("<=", 2.0) if name == "kubectl ark status" else None
        report.add(f"{name}, {agents} agents, p50", statistics.median(samples), "s")
        report.add(f"{name}, {agents} agents, slowest of {times}", max(samples), "s", bar)


def _timed(command: list[str], environment: Mapping[str, str], agents: int) -> float:
    began = time.monotonic()
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=True)
    took = time.monotonic() - began
    shown = sum(f"a{number}" in ended.stdout for number in (0, agents - 1))
    assert shown == 2, ended.stdout[:500]
    assert not ended.stderr, ended.stderr
    return took


async def _make(client: Api, redis: str, agents: int) -> None:
    """Make agents with a budget and a status, and a task for each."""
    conditions = [
        {
            "type": kind,
            "status": "True",
            "reason": reason,
            "message": "KEDA keeps the pool at 0 to 10 replicas, following queue x.",
            "lastTransitionTime": "2026-11-25T12:00:00Z",
            "observedGeneration": 1,
        }
        for kind, reason in (("Ready", "AllReplicasReady"), ("Autoscaling", "FollowsQueue"))
    ]
    status = {
        "mode": "Auto",
        "observedGeneration": 1,
        "replicas": 1,
        "readyReplicas": 1,
        "queue": {"waiting": 1, "inFlight": 0},
        "conditions": conditions,
    }
    spec = {"model": "echo", "systemPrompt": "p", "autoscaling": {}, "limits": {"maxDailyTokens": 100_000}}
    options = Options(image="ark:1", scaler_address="scaler:6000", agent_redis={"default": redis})
    connection = connect(redis)
    numbers = iter(range(agents))

    async def sender() -> None:
        for number in numbers:
            item = operator_manifests.agent(_NAMESPACE, f"a{number}", **spec)
            made = await client.create(ARK_AGENTS.path(_NAMESPACE), item)
            await client.create(DEPLOYMENTS.path(_NAMESPACE), deployment.build(Agent(made), options))
            await client.patch(ARK_AGENTS.path(_NAMESPACE, f"a{number}", "status"), {"status": status})
            await Producer(connection, QueueKeys.for_agent(_NAMESPACE, f"a{number}")).submit("x")

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_SENDERS):
                group.create_task(sender())
    finally:
        await connection.aclose()
