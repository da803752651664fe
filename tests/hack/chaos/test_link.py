"""The network that the chaos runs cut and slow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from hack.chaos.link import Link
from hack.local.process import free_port


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
    """Say something, and answer what came back."""
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"hello")
            return await reader.read(100)
        finally:
            writer.transport.abort()


async def test_a_whole_link_carries_and_takes_the_first_target_that_listens() -> None:
    async with echoing() as port, Link("a-b", [free_port(), port]) as link:
        for _ in range(3):
            assert await said(link.port) == b"hello"


async def test_a_cut_link_swallows_everything_and_tells_nobody_until_it_is_mended() -> None:
    async with echoing() as port, Link("a-b", [port]) as link:
        reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
        writer.write(b"before")
        assert await reader.read(100) == b"before"
        link.cut()
        writer.write(b"lost")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.read(100)
        with pytest.raises(TimeoutError):
            await said(link.port, 0.2)
        link.mend()
        with pytest.raises((ConnectionError, EOFError)):
            await reader.readexactly(1)  # what was open while it was cut is broken
        writer.transport.abort()
        assert await said(link.port) == b"hello"


async def test_a_slow_link_keeps_each_piece_back_in_each_direction() -> None:
    async with echoing() as port, Link("a-b", [port]) as link:
        link.slow(0.1)
        began = time.monotonic()
        assert await said(link.port) == b"hello"
        assert time.monotonic() - began >= 0.2
        link.mend()
        assert await said(link.port) == b"hello"
