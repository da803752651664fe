"""A TCP proxy that can stop answering, as a network that swallows packets does, or speak TLS to its clients."""

from __future__ import annotations

import asyncio
import ssl
from types import TracebackType
from typing import Self

_CHUNK = 65536


class Proxy:
    """Forwards loopback connections to a port, until told to hang."""

    def __init__(self, target_port: int, tls: ssl.SSLContext | None = None) -> None:
        """
        Args:
            target_port: port of loopback that connections are forwarded to.
            tls: the server's side of TLS, where clients are to speak it.
        """
        self._target_port = target_port
        self._tls = tls
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.connections = 0
        """How many were accepted so far."""

    def hang(self) -> None:
        """Accept and read, but forward nothing any more."""
        self._open.clear()

    def resume(self) -> None:
        """Forward again, what was kept back first."""
        self._open.set()

    def drop_connections(self) -> None:
        """Break every open connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(up_writer)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(reader, up_writer))
                tasks.create_task(self._pump(up_reader, writer))
        finally:
            for end in (writer, up_writer):
                self._writers.discard(end)
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copy one direction; the end of either direction ends both."""
        try:
            while data := await reader.read(_CHUNK):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        except (OSError, ssl.SSLError):
            pass  # a broken connection ends like a closed one
        writer.transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.resume()
        self.drop_connections()
        await self._server.wait_closed()
