"""SIGTERM: a scaler that a Service leads to goes on serving for a moment, any other ends at once."""

from __future__ import annotations

import signal
import time
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hack.local.redis_server import RedisServer
from hack.local.scaler_process import ScalerProcess
from tests.eventually import eventually
from tests.scaler.keda import Keda

DRAIN_SECONDS = 600.0
"""Far longer than any test: what ends before was not waiting for it."""


def readiness(scaler: ScalerProcess) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{scaler.http_port}/readyz", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def asked_by_a_new_client(scaler: ScalerProcess) -> bool:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{scaler.grpc_port}") as channel:
        keda = Keda(channel)
        return await keda.is_active(keda.reference())


def started(folder: Path, redis: RedisServer, seconds: float) -> ScalerProcess:
    return ScalerProcess(folder, {"redis": redis.url, "drain-seconds": f"{seconds:g}"})


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_once_it_was_ready_it_serves_on_until_a_second_signal(
    redis_server: RedisServer, folder: Path, second: signal.Signals
) -> None:
    with started(folder, redis_server, DRAIN_SECONDS) as scaler:
        await eventually(lambda: readiness(scaler)[0] == 200, "ready")
        scaler.send(signal.SIGTERM)
        await eventually(lambda: readiness(scaler) == (503, "the scaler is stopping\n"), "not ready")
        assert not await asked_by_a_new_client(scaler)
        scaler.send(second)
        assert scaler.wait(30) == 0
        assert "Traceback" not in scaler.output()


async def test_it_ends_by_itself_when_the_time_is_over(redis_server: RedisServer, folder: Path) -> None:
    with started(folder, redis_server, 0.5) as scaler:
        await eventually(lambda: readiness(scaler)[0] == 200, "ready")
        began = time.monotonic()
        scaler.send(signal.SIGTERM)
        assert scaler.wait(30) == 0
        assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_scaler_that_no_probe_has_found_ready_ends_at_once(
    redis_server: RedisServer, folder: Path, number: signal.Signals
) -> None:
    with started(folder, redis_server, DRAIN_SECONDS) as scaler:
        scaler.send(number)
        assert scaler.wait(30) == 0


async def test_a_probe_by_grpc_counts_too(redis_server: RedisServer, folder: Path) -> None:
    with started(folder, redis_server, DRAIN_SECONDS) as scaler:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{scaler.grpc_port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)

            async def serving() -> bool:
                answer = await stub.Check(health_pb2.HealthCheckRequest())
                return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

            await eventually(serving, "ready")
        scaler.send(signal.SIGTERM)
        assert scaler.wait(1) is None, "it serves on"
        scaler.send(signal.SIGTERM)
        assert scaler.wait(30) == 0


async def test_ctrl_c_ends_it_at_once(redis_server: RedisServer, folder: Path) -> None:
    with started(folder, redis_server, DRAIN_SECONDS) as scaler:
        await eventually(lambda: readiness(scaler)[0] == 200, "ready")
        scaler.send(signal.SIGINT)
        assert scaler.wait(30) == 0
