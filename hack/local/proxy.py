"""A TCP proxy that can hang, be slow, and break connections, as a network does, or speak TLS to its clients."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

_CHUNK = 65536


class Proxy:
    """Forwards loopback connections to a port, until told to hang.

    Args:
        targets: ports of loopback that connections are forwarded to; each goes to the next one that takes it, as
            with a Service.
        tls: the server's side of TLS, where clients are to speak it.
    """

    def __init__(self, *targets: int, tls: ssl.SSLContext | None = None) -> None:
        self.targets: Sequence[int] = targets
        self._turn = 0
        self._tls = tls
        self._delay_seconds = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.connections = 0
        """How many were accepted so far."""

    def hang(self) -> None:
        """Accept and read, but forward nothing any more."""
        self._flowing.clear()

    def resume(self) -> None:
        """Forward again, what was kept back first."""
        self._flowing.set()

    def slow(self, seconds: float) -> None:
        """Keep every piece back for so long, in each direction; 0 for as fast as it goes."""
        self._delay_seconds = seconds

    def drop_connections(self) -> None:
        """Break every open connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        ends = [writer]
        self._writers.add(writer)
        try:
            up_reader, up_writer = await self._open()
            ends.append(up_writer)
            self._writers.add(up_writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, up_writer))
                group.create_task(self._pump(up_reader, writer))
        except OSError:
            pass  # nobody listens: the client's connection ends
        except asyncio.CancelledError:
            if not self._closing:
                raise
        finally:
            self._tasks.discard(task)
            for end in ends:
                self._writers.discard(end)
                end.transport.abort()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for _ in self.targets[1:]:
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", self._next())
        return await asyncio.open_connection("127.0.0.1", self._next())

    def _next(self) -> int:
        self._turn += 1
        return self.targets[self._turn % len(self.targets)]

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copy one direction; the end of either direction ends both."""
        try:
            while data := await reader.read(_CHUNK):
                await asyncio.sleep(self._delay_seconds)
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        except (OSError, ssl.SSLError):
            pass  # a broken connection ends like a closed one
        writer.transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self._closing = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
