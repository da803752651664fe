"""A server of the same kind as the scaler that does nothing: what gRPC in Python costs by itself.

``python -m hack.bench.null_server``: listens on a free port and prints it.
"""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import grpc

from ark_scaler.wire import externalscaler_pb2 as wire
from ark_scaler.wire.externalscaler_pb2_grpc import ExternalScalerServicer, add_ExternalScalerServicer_to_server

Context = grpc.aio.ServicerContext[Any, Any]


class NullServicer(ExternalScalerServicer):
    """Answers every call with the same."""

    def __init__(self, stopped: asyncio.Event) -> None:
        self._stopped = stopped

    async def IsActive(self, request: wire.ScaledObjectRef, context: Context) -> wire.IsActiveResponse:
        """Return false."""
        return wire.IsActiveResponse(result=False)

    async def GetMetricSpec(self, request: wire.ScaledObjectRef, context: Context) -> wire.GetMetricSpecResponse:
        """Return one spec."""
        return wire.GetMetricSpecResponse(metricSpecs=[wire.MetricSpec(metricName="null", targetSizeFloat=5)])

    async def GetMetrics(self, request: wire.GetMetricsRequest, context: Context) -> wire.GetMetricsResponse:
        """Return zero."""
        return wire.GetMetricsResponse(metricValues=[wire.MetricValue(metricName=request.metricName)])

    async def StreamIsActive(self, request: wire.ScaledObjectRef, context: Context) -> None:
        """Stay open."""
        await self._stopped.wait()


async def main() -> None:
    """Serve until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    # As the scaler has it: ten thousand streams may be opened at once.
    pending = ("grpc.server.max_pending_requests", "grpc.server.max_pending_requests_hard_limit")
    server = grpc.aio.server(options=[(option, 100_000) for option in pending])
    add_ExternalScalerServicer_to_server(NullServicer(stopped), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"listening on {port}", flush=True)
    await stopped.wait()
    await server.stop(1)


if __name__ == "__main__":
    asyncio.run(main())
