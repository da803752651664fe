"""A rolling restart of the scaler: nobody who connects meanwhile is turned away, and wake-ups come."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import grpc
import pytest

from ark_scaler.wire import externalscaler_pb2 as wire
from ark_scaler.wire.externalscaler_pb2_grpc import ExternalScalerStub
from ark_taskqueue import Producer, QueueKeys
from hack.cluster import manifests
from hack.cluster.access import Access
from tests.cluster.stack import Stack, deployed
from tests.eventually import eventually

CONNECTIONS_PER_SECOND = 50
STREAMS = 200
REPLICAS = 2
CALL_SECONDS = 10.0
KEDA_SECONDS = 2.0
"""KEDA opens a stream again after so long where it ended with OK."""
AFTERWARDS_SECONDS = 6.0
SLOW_MACHINE_SECONDS = 15.0
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]


def reference(stack: Stack, agent: str) -> wire.ScaledObjectRef:
    queue = QueueKeys.for_agent(stack.namespace, agent).name
    return wire.ScaledObjectRef(name=agent, namespace=stack.namespace, scalerMetadata={"queue": queue})


@dataclass(slots=True)
class Clients:
    """What connects to the scaler, and how it fared."""

    stack: Stack
    connections: int = 0
    failures: list[str] = field(default_factory=list)
    awake: dict[str, float] = field(default_factory=dict)
    """When a stream heard first that its agent is active, by the agent's name; monotonic seconds."""

    async def connect(self) -> None:
        """Ask once, on a connection of its own."""
        self.connections += 1
        async with grpc.aio.insecure_channel(self.stack.scaler_address, options=OWN_CONNECTION) as channel:
            try:
                await ExternalScalerStub(channel).IsActive(reference(self.stack, "nobody"), timeout=CALL_SECONDS)
            except grpc.aio.AioRpcError as error:
                self.failures.append(f"{error.code().name}: {error.details()}")

    async def connect_until(self, stop: asyncio.Event) -> None:
        """Open connections at an even pace until told to stop; those that are under way are waited for."""
        async with asyncio.TaskGroup() as group:
            while not stop.is_set():
                group.create_task(self.connect())
                await asyncio.sleep(1 / CONNECTIONS_PER_SECOND)

    async def listen(self, channel: grpc.aio.Channel, agent: str) -> None:
        """Hold a push stream open as KEDA does, until cancelled."""
        stub = ExternalScalerStub(channel)
        while True:
            try:
                async for pushed in stub.StreamIsActive(reference(self.stack, agent)):
                    if pushed.result:
                        self.awake.setdefault(agent, time.monotonic())
            except grpc.aio.AioRpcError as error:
                self.failures.append(f"stream: {error.code().name}: {error.details()}")
            await asyncio.sleep(KEDA_SECONDS)


@pytest.mark.containers
async def test_a_rolling_restart_turns_nobody_away_and_wakes_every_pool(access: Access) -> None:
    if not access.near:
        pytest.skip("a port-forward leads to one Pod and not through the Service, so this cluster's is out of reach")
    settings = {"redis-timeout-seconds": "10"}  # on a busy machine Redis may take its time while new scalers start
    if access.local is None:
        settings["drain-seconds"] = "10"  # on a saturated machine the default of 3 s may be too short (ADR 14)
    async with deployed(access, settings=settings) as stack:
        await restart_under_load(stack)


async def restart_under_load(stack: Stack) -> None:
    await stack.kubectl("scale", "deployment", manifests.SCALER, f"--replicas={REPLICAS}")
    await stack.ready(manifests.SCALER)
    before = {pod["metadata"]["uid"] for pod in await stack.pods(manifests.SCALER)}
    clients = Clients(stack)
    submitted: dict[str, float] = {}
    stop = asyncio.Event()

    async def restarted() -> bool:
        pods = await stack.pods(manifests.SCALER)
        return len(pods) == REPLICAS and not before & {pod["metadata"]["uid"] for pod in pods}

    async def submit() -> None:
        for number in range(STREAMS):
            agent = f"agent-{number}"
            submitted[agent] = time.monotonic()
            await Producer(stack.redis, QueueKeys.for_agent(stack.namespace, agent)).submit("wake up")
            await asyncio.sleep(0.1)

    async with (
        grpc.aio.insecure_channel(stack.scaler_address, options=OWN_CONNECTION) as channel,
        asyncio.TaskGroup() as group,
    ):
        tasks = [group.create_task(clients.listen(channel, f"agent-{number}")) for number in range(STREAMS)]
        group.create_task(clients.connect_until(stop))
        wakes = group.create_task(submit())
        await asyncio.sleep(1)
        await stack.kubectl("rollout", "restart", f"deployment/{manifests.SCALER}")
        await eventually(restarted, "new scalers", 120, every=0.2)
        await wakes
        await eventually(lambda: len(clients.awake) == STREAMS, "a push for each", SLOW_MACHINE_SECONDS)
        await asyncio.sleep(AFTERWARDS_SECONDS)
        stop.set()
        for task in tasks:
            task.cancel()
    late = sorted(clients.awake[agent] - at for agent, at in submitted.items())
    print(
        f"{clients.connections} connections, pushes after {late[len(late) // 2]:.2f} s (p50), {late[-1]:.2f} s (most)"
    )
    assert clients.failures == []
