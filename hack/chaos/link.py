"""A stretch of network between two parts: whole, cut, or slow."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

_CHUNK = 65_536


class Link:
    """Forwards connections of loopback to the first of some ports that takes them, as a Service does."""

    def __init__(self, name: str, targets: Sequence[int]) -> None:
        """
        Args:
            name: of the two ends, for people.
            targets: ports of loopback.
        """
        self.name = name
        self.targets = list(targets)
        self.port = 0
        self._cut = False
        self._delay_seconds = 0.0
        self._turn = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._server: asyncio.Server | None = None

    def cut(self) -> None:
        """Swallow everything, as a network does that is gone: nobody is told."""
        self._cut = True

    def slow(self, seconds: float) -> None:
        """Keep every piece back for a while, in each direction."""
        self._delay_seconds = seconds

    def mend(self) -> None:
        """Be whole again; connections from the time of the cut are broken."""
        if self._cut:
            for writer in list(self._writers):
                writer.transport.abort()
        self._cut, self._delay_seconds = False, 0.0

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except asyncio.CancelledError:
            if not self._closing:
                raise
        finally:
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        other = None
        try:
            while self._cut:
                await asyncio.sleep(0.05)
                if writer.transport.is_closing():
                    return
            other = await self._open()
            if other is None:
                return
            up_reader, up_writer = other
            self._writers.add(up_writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, up_writer, writer))
                group.create_task(self._pump(up_reader, writer, up_writer))
        finally:
            for end in (writer, *(other[1:] if other else ())):
                if isinstance(end, asyncio.StreamWriter):
                    self._writers.discard(end)
                    end.transport.abort()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in self.targets:
            port = self.targets[self._turn % len(self.targets)]
            self._turn += 1
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", port)
        return None

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: asyncio.StreamWriter
    ) -> None:
        """Copy one direction; the end of either one ends both."""
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                if self._delay_seconds:
                    await asyncio.sleep(self._delay_seconds)
                if not self._cut:
                    writer.write(data)
                    await writer.drain()
        for end in (writer, back):
            end.transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
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
