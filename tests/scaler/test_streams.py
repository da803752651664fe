"""Many push streams, clients that vanish, and a scaler that stops."""

from __future__ import annotations

import asyncio
import signal
import time
import urllib.request
from contextlib import AsyncExitStack
from pathlib import Path

import grpc

from ark_taskqueue import Client
from hack.local.proxy import Proxy
from hack.local.redis_server import RedisServer
from hack.local.scaler_process import ScalerProcess
from tests.eventually import eventually
from tests.scaler.keda import Keda, add_task, scaler_and_keda, watched

STREAMS = 500


async def scraped(http_port: int, name: str) -> float:
    """Return one sample of the scaler's metrics."""

    def read() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/metrics", timeout=30) as response:
            return str(response.read().decode())

    for line in (await asyncio.to_thread(read)).splitlines():
        if line.startswith((f"{name} ", f"{name}{{")):
            return float(line.rpartition(" ")[2])
    raise AssertionError(f"no metric {name}")


async def test_clients_that_vanish_leave_nothing_behind_and_disturb_nobody(
    redis_server: RedisServer, client: Client
) -> None:
    async with scaler_and_keda(redis=redis_server.url) as (scaler, keda):
        async with grpc.aio.insecure_channel(
            f"127.0.0.1:{scaler.grpc_port}", options=[("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            vanishing = Keda(channel)
            streams = [vanishing.stream(keda.reference(f"default/agent-{i}")) for i in range(STREAMS)]
            staying = keda.stream(keda.reference("default/agent-0"))

            async def open_streams(count: int) -> bool:
                return await scraped(scaler.http_port, "ark_scaler_open_streams") == count

            await eventually(lambda: open_streams(STREAMS + 1), "all streams open")
            for stream in streams[::2]:
                stream.cancel()
            await eventually(lambda: open_streams(STREAMS // 2 + 1), "cancelled streams gone")
        await eventually(lambda: open_streams(1), "the vanished client's streams gone")
        await watched(client)
        await add_task(client, "default/agent-0")
        async with asyncio.timeout(30):
            assert (await staying.read()).result is True


async def test_a_client_whose_host_is_gone_is_noticed_by_keepalive(redis_server: RedisServer) -> None:
    """KEDA sends no pings, and a host that is gone closes no connection."""
    async with AsyncExitStack() as stack:
        settings = {"redis": redis_server.url, "keepalive_seconds": 1}
        scaler, keda = await stack.enter_async_context(scaler_and_keda(**settings))
        proxy = await stack.enter_async_context(Proxy(scaler.grpc_port))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{proxy.port}"))
        stream = Keda(channel).stream(keda.reference())

        async def open_streams(count: int) -> bool:
            return await scraped(scaler.http_port, "ark_scaler_open_streams") == count

        await eventually(lambda: open_streams(1), "the open stream")
        proxy.hang()
        await eventually(lambda: open_streams(0), "the end of the dead client's stream")
        stream.cancel()


async def test_on_sigterm_every_stream_ends_with_ok_and_the_process_with_zero(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """A stream that ends otherwise makes KEDA wait up to a minute before it opens the next one."""
    with ScalerProcess(tmp_path, {"redis": redis_server.url}) as process:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{process.grpc_port}") as channel:
            keda = Keda(channel)
            began = time.monotonic()
            streams = [keda.stream(keda.reference(f"default/agent-{i}")) for i in range(STREAMS)]

            async def all_open() -> bool:
                return await scraped(process.http_port, "ark_scaler_open_streams") == STREAMS

            await eventually(all_open, "all streams open")
            opening = time.monotonic() - began
            reads = [asyncio.ensure_future(stream.read()) for stream in streams]
            process.send(signal.SIGTERM)
            began = time.monotonic()
            async with asyncio.timeout(30):
                ends = await asyncio.gather(*reads)
            assert time.monotonic() - began < 3 * opening, "they end at once, all of them"
            assert all(end is grpc.aio.EOF for end in ends)
            codes = {await stream.code() for stream in streams}
            assert codes == {grpc.StatusCode.OK}
        assert await asyncio.to_thread(process.wait, 30) == 0
