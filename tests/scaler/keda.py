"""A client that calls the scaler as KEDA does, and a scaler to call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from ark_scaler.server import RunningScaler, running
from ark_scaler.settings import ScalerSettings
from ark_scaler.watch import WATCH_CONNECTIONS
from ark_scaler.wire import externalscaler_pb2 as wire
from ark_scaler.wire.externalscaler_pb2_grpc import ExternalScalerStub
from ark_taskqueue import Client, Priority, QueueKeys
from tests.eventually import eventually

CALL_SECONDS = 30.0


class Keda:
    """Calls one scaler. KEDA itself sets no deadline; here a hang fails the test."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.stub = ExternalScalerStub(channel)

    @staticmethod
    def reference(queue: str = "default/writer", namespace: str = "default", **metadata: str) -> wire.ScaledObjectRef:
        """Return what KEDA sends for a ScaledObject with a queue."""
        return wire.ScaledObjectRef(name="writer", namespace=namespace, scalerMetadata={"queue": queue, **metadata})

    async def is_active(self, reference: wire.ScaledObjectRef) -> bool:
        return bool((await self.stub.IsActive(reference, timeout=CALL_SECONDS)).result)

    async def metric(self, reference: wire.ScaledObjectRef) -> float:
        request = wire.GetMetricsRequest(scaledObjectRef=reference, metricName="ark-demand")
        [value] = (await self.stub.GetMetrics(request, timeout=CALL_SECONDS)).metricValues
        assert value.metricName == "ark-demand"
        assert value.metricValue >= value.metricValueFloat, "little demand became none"
        return float(value.metricValueFloat)

    async def spec(self, reference: wire.ScaledObjectRef) -> tuple[str, int, float]:
        [spec] = (await self.stub.GetMetricSpec(reference, timeout=CALL_SECONDS)).metricSpecs
        return spec.metricName, spec.targetSize, spec.targetSizeFloat

    def stream(self, reference: wire.ScaledObjectRef) -> Any:
        return self.stub.StreamIsActive(reference)


def settings(**values: Any) -> ScalerSettings:
    """Return settings on free ports of loopback."""
    return ScalerSettings(**{"host": "127.0.0.1", "port": 0, "http_port": 0, **values})


@asynccontextmanager
async def scaler_and_keda(**values: Any) -> AsyncIterator[tuple[RunningScaler, Keda]]:
    """Run a scaler with these settings, and a client of it."""
    async with (
        running(settings(**values)) as scaler,
        grpc.aio.insecure_channel(f"127.0.0.1:{scaler.grpc_port}") as channel,
    ):
        yield scaler, Keda(channel)


async def failure(call: Any) -> tuple[str, str]:
    """Return the status code and message of a call that must fail."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code().name, error.details() or ""
    raise AssertionError("the call did not fail")


async def add_task(client: Client, queue: str = "default/writer", priority: Priority = "normal") -> None:
    """XADD as a producer in any language would."""
    await client.execute_command("XADD", QueueKeys.for_queue(queue).stream_of(priority), "*", "prompt", "x")


async def watched(client: Client, at_least: int = WATCH_CONNECTIONS) -> None:
    """Wait until the scaler's watch is blocked in Redis."""

    async def blocked() -> bool:
        return int((await client.info("clients"))["blocked_clients"]) >= at_least

    await eventually(blocked, "the watch's block")
