"""The scene of ``kubectl ark top``: a process cluster with five agents, each with a load of its own."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from ark_taskqueue import Client, Producer, QueueKeys, connect
from hack.cluster import operator_manifests
from hack.cluster.__main__ import DEMO, deploy
from hack.cluster.access import Access, local
from hack.cluster.process_cluster import ProcessCluster

_AGENTS = {"writer": (6.0, 4.0), "translator": (3.0, 2.0), "reviewer": (1.5, 6.0), "classifier": (4.0, 0.5)}
"""Tasks a second at the busiest, and seconds that one takes."""
_DAILY = 400_000


@asynccontextmanager
async def scene() -> AsyncIterator[tuple[list[str], dict[str, str]]]:
    """Run the cluster and its load; yield the command to be recorded and its environment."""
    with tempfile.TemporaryDirectory(prefix="ark-record-", ignore_cleanup_errors=True) as folder:
        cluster = ProcessCluster(Path(folder))
        try:
            await asyncio.to_thread(cluster.start)
            access = local(cluster.state)
            redis = await asyncio.to_thread(_deploy, access)
            async with aclosing(connect(redis)) as client, asyncio.TaskGroup() as group:
                load = [group.create_task(_load(client, name, *pace)) for name, pace in _AGENTS.items()]
                await asyncio.sleep(3)
                state = access.local
                assert state is not None
                path = f"{Path(state.kubectl).parent}{os.pathsep}{os.environ['PATH']}"
                program = str(Path(sys.executable).with_name("kubectl-ark"))
                command = [program, "top", "-n", DEMO, "--redis-url", redis, "--interval", "1", "--count", "40"]
                yield command, {**os.environ, "PATH": path, "KUBECONFIG": str(state.kubeconfig)}
                for task in load:
                    task.cancel()
        finally:
            await asyncio.to_thread(cluster.stop)


def _deploy(access: Access) -> str:
    redis = deploy(access)
    down = {"scaleDown": {"stabilizationWindowSeconds": 5}}
    scaling = {"maxReplicas": 8, "cooldownSeconds": 5, "behavior": down}
    limits = {"maxDailyTokens": _DAILY, "maxTokensPerCall": 2000}
    access.kubectl.apply(
        [
            operator_manifests.agent(
                DEMO, name, model="echo", systemPrompt="Repeat.", autoscaling=scaling, limits=limits
            )
            for name in _AGENTS
        ]
    )
    return redis


async def _load(client: Client, agent: str, busiest: float, seconds: float) -> None:
    """Submit tasks in bursts, each agent at other moments, until cancelled."""
    producer, chance = Producer(client, QueueKeys.for_agent(DEMO, agent)), random.Random(agent)  # noqa: S311 - the same load each time
    while True:
        if chance.random() < 0.5:
            for _ in range(chance.randrange(1, 20)):
                meta = {"latency_seconds": seconds, "input_tokens": 900, "output_tokens": 300}
                await producer.submit("record", meta=meta)
                await asyncio.sleep(chance.expovariate(busiest))
        else:
            await asyncio.sleep(chance.uniform(1, 6))
