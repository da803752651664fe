"""The part of a kubelet's HTTPS endpoint that is the node's own: logs, and where ports are to be forwarded to.

In front of it stands ``tools/kubelet``, which the API server calls and which forwards the ports: kubectl speaks SPDY
through the API server, for which Kubernetes' own package alone is kept up.
"""

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

FindAddress = Callable[[str, str], str | None]
"""Answers the address of a namespace's Pod; None where this node has no such Pod."""


@asynccontextmanager
async def serving(
    host: str, port: int, tls: ssl.SSLContext, find_log: FindLog, find_address: FindAddress
) -> AsyncIterator[None]:
    """Serve while the context is open."""

    async def pod_address(request: web.Request) -> web.Response:
        address = find_address(request.match_info["namespace"], request.match_info["pod"])
        return web.Response(status=404, text="not on this node") if address is None else web.Response(text=address)

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
    application.add_routes(
        [
            web.get("/containerLogs/{namespace}/{pod}/{container}", logs),
            web.get("/podAddress/{namespace}/{pod}", pod_address),
        ]
    )
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
        yield
    finally:
        await runner.cleanup()


def _start(path: Path, tail_lines: str | None) -> int:
    """Return where the last lines begin."""
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
