"""The proxy that stands for a network which is cut, or slow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from hack.local.process import free_port
from hack.local.proxy import Proxy


@asynccontextmanager
async def echoing() -> AsyncIterator[int]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(100):
                writer.write(data)
        writer.transport.abort()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def said(port: int, seconds: float = 5.0) -> bytes:
    """Say something, and return what came back."""
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"hello")
            return await reader.read(100)
        finally:
            writer.transport.abort()


async def test_a_connection_goes_to_a_target_that_listens() -> None:
    async with echoing() as port, Proxy(free_port(), port) as link:
        for _ in range(3):
            assert await said(link.port) == b"hello"


async def test_nothing_gets_through_a_cut_and_nobody_is_told_until_it_is_mended() -> None:
    async with echoing() as port, Proxy(port) as link:
        reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
        writer.write(b"before")
        assert await reader.read(100) == b"before"
        link.hang()
        writer.write(b"lost")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.read(100)
        with pytest.raises(TimeoutError):
            await said(link.port, 0.2)
        link.drop_connections()
        link.resume()
        with pytest.raises((ConnectionError, EOFError)):
            await reader.readexactly(1)  # what was open while it was cut is broken
        writer.transport.abort()
        assert await said(link.port) == b"hello"


async def test_a_slow_network_keeps_each_piece_back_in_each_direction() -> None:
    async with echoing() as port, Proxy(port) as link:
        link.slow(0.1)
        began = time.monotonic()
        assert await said(link.port) == b"hello"
        assert time.monotonic() - began >= 0.2
        link.slow(0.0)
        assert await said(link.port) == b"hello"
