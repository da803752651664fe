"""The servers that the scaler's benchmark compares, and what it asks them."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import grpc
import psutil

from ark_scaler.wire import externalscaler_pb2 as wire
from ark_scaler.wire.externalscaler_pb2_grpc import ExternalScalerStub
from hack.local.process import ChildProcess
from hack.local.redis_server import RedisServer
from hack.local.scaler_process import ScalerProcess

_START_SECONDS = 30.0


class Server:
    """A server process and a stub to it."""

    def __init__(self, process: ChildProcess, port: int) -> None:
        self.process = psutil.Process(process.pid)
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)])
        self.stub = ExternalScalerStub(self.channel)
        self.streams: list[grpc.aio.UnaryStreamCall[wire.ScaledObjectRef, wire.IsActiveResponse]] = []

    def cpu_seconds(self) -> float:
        """Return the processor time that it has used."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def open_streams(self, references: Sequence[wire.ScaledObjectRef]) -> None:
        """Open a push stream for each object."""
        self.streams += [self.stub.StreamIsActive(reference) for reference in references]

    async def close(self) -> None:
        """End its streams and the connection."""
        for stream in self.streams:
            stream.cancel()
        await self.channel.close()


def reference_of(name: str) -> wire.ScaledObjectRef:
    """Return what KEDA says of one object."""
    return wire.ScaledObjectRef(
        name=name,
        namespace="bench",
        scalerMetadata={"queue": f"bench/{name}", "tasksPerReplica": "5", "scalerAddress": "ark-scaler.ark:6000"},
    )


def references_of(prefix: str, count: int) -> list[wire.ScaledObjectRef]:
    """Return so many objects."""
    return [reference_of(f"{prefix}-{i}") for i in range(count)]


def metrics_of(reference: wire.ScaledObjectRef) -> wire.GetMetricsRequest:
    """Return the request for an object's demand."""
    return wire.GetMetricsRequest(scaledObjectRef=reference, metricName="ark-demand")


def scaler_process(stack: ExitStack, folder: Path, redis: RedisServer) -> Server:
    """Start a scaler."""
    process = stack.enter_context(ScalerProcess(folder, {"redis": redis.url}))
    return Server(process, process.grpc_port)


def null_process(stack: ExitStack, folder: Path) -> Server:
    """Start a server that answers everything at once."""
    folder.mkdir(parents=True, exist_ok=True)
    process = stack.enter_context(ChildProcess([sys.executable, "-m", "hack.bench.null_server"], folder / "null.log"))
    listening = re.compile(r"listening on (\d+)")
    process.wait_until(lambda: listening.search(process.output()) is not None, _START_SECONDS, "null server")
    match = listening.search(process.output())
    assert match is not None
    return Server(process, int(match[1]))
