"""The part of a kubelet's HTTPS endpoint that ``kubectl logs`` needs."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

_FOLLOW_SECONDS = 0.2
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class LogFile:
    """A container's log."""

    path: Path
    over: Callable[[], bool]
    """Whether nothing more will come."""


FindLog = Callable[[str, str, str], LogFile | None]
"""Answers the log of a namespace, Pod and container; None where this node has no such Pod."""


@asynccontextmanager
async def serving(host: str, tls: ssl.SSLContext, find_log: FindLog) -> AsyncIterator[int]:
    """Serve on a free port while the context is open; gives the port."""

    async def logs(request: web.Request) -> web.StreamResponse:
        match = request.match_info
        log = find_log(match["namespace"], match["pod"], match["container"])
        if log is None or not await asyncio.to_thread(log.path.exists):
            return web.Response(status=404, text="this container has no log (yet)\n")
        response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        await response.prepare(request)
        position = await asyncio.to_thread(_start, log.path, request.query.get("tailLines"))
        follow = request.query.get("follow") == "true"
        while True:
            over = log.over()  # before the last look at the file
            data = await asyncio.to_thread(_read, log.path, position)
            position += len(data)
            if data:
                await response.write(data)
            elif over or not follow:
                return response
            else:
                await asyncio.sleep(_FOLLOW_SECONDS)

    application = web.Application()
    application.add_routes([web.get("/containerLogs/{namespace}/{pod}/{container}", logs)])
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, 0, ssl_context=tls).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _start(path: Path, tail_lines: str | None) -> int:
    """Answer where the last lines begin."""
    if tail_lines is None:
        return 0
    lines = path.read_bytes().splitlines(keepends=True)
    wanted = int(tail_lines)
    return sum(len(line) for line in lines[: max(0, len(lines) - wanted)])


def _read(path: Path, position: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(position)
            return file.read(_CHUNK)
    except FileNotFoundError:
        return b""  # the Pod is gone
