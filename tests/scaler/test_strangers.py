"""What strangers who reach the scaler's ports can do: nothing that keeps KEDA and the kubelet from an answer."""

from __future__ import annotations

import asyncio
import resource
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import grpc
import pytest

from ark_scaler import server
from hack.local.process import ChildProcess, free_port
from hack.local.redis_server import RedisServer
from tests.eventually import eventually
from tests.scaler.keda import Keda, scaler_and_keda

_FEW_FILES = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
sys.argv = ["ark-scaler", *sys.argv[1:]]
runpy.run_module("ark_scaler", run_name="__main__")
"""


async def silent(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return sock


async def test_a_connection_that_does_not_speak_is_closed(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_HANDSHAKE_MS", 500)
    async with scaler_and_keda(redis=redis_server.url) as (scaler, keda):
        with await silent(scaler.grpc_port) as sock:

            async def closed() -> bool:
                try:
                    return await asyncio.get_running_loop().sock_recv(sock, 100) == b""
                except OSError:
                    return True

            # gRPC sends its settings first, and then ends a client that sends none.
            async with asyncio.timeout(30):
                while not await closed():
                    pass
        assert await keda.metric(keda.reference()) == 0, "who speaks is served"


@asynccontextmanager
async def with_few_files(redis: RedisServer, folder: Path) -> AsyncIterator[tuple[int, int]]:
    grpc_port, http_port = free_port(), free_port()
    flags = [f"--redis={redis.url}", "--host=127.0.0.1", f"--port={grpc_port}", f"--http-port={http_port}"]
    with ChildProcess([sys.executable, "-c", _FEW_FILES, *flags], folder / "log"):
        yield grpc_port, http_port


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 2000, reason="the hard limit of files is low here")
async def test_hundreds_of_silent_connections_keep_nobody_from_an_answer(
    redis_server: RedisServer, folder: Path
) -> None:
    """1,010 of them, at a soft limit of 1,024 open files, took down /healthz and gRPC."""

    async def probed(port: int) -> bool:
        try:
            timeout = aiohttp.ClientTimeout(total=5)
            url = f"http://127.0.0.1:{port}/healthz"
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async with with_few_files(redis_server, folder) as (grpc_port, http_port):
        await eventually(lambda: probed(http_port), "the scaler", 60, every=0.1)
        with ExitStack() as open_ones:
            for port in (grpc_port, http_port):
                for _ in range(300):
                    open_ones.enter_context(await silent(port))
            assert await probed(http_port)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
                assert await Keda(channel).metric(Keda.reference()) == 0
