"""A local HTTP server that answers as it is told, and remembers what it was asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(frozen=True)
class Answer:
    """One answer: JSON where the body is no text."""

    body: Any = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    """Whether the connection is cut in the middle of the body."""
    hang: bool = False
    """Whether nothing is answered at all."""


@dataclass
class LLMServer:
    """Answers by path, each answer once and the last one again and again."""

    url: str = ""
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, Any], Mapping[str, str]]] = field(default_factory=list)
    """Path, body, headers."""
    queries: list[dict[str, str]] = field(default_factory=list)

    def will(self, path: str, *answers: Answer) -> None:
        """Say what a path answers."""
        self.answers[path] = list(answers)

    def asked(self, path: str) -> list[dict[str, Any]]:
        """Return the bodies of a path's requests."""
        return [body for asked, body, _ in self.requests if asked == path]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Return one request."""
        self.requests.append((request.path, await request.json(), request.headers))
        self.queries.append(dict(request.query))
        given = self.answers.get(request.path)
        if not given:
            return web.json_response({"error": {"message": f"no such path {request.path}"}}, status=404)
        answer = given.pop(0) if len(given) > 1 else given[0]
        transport = request.transport
        assert transport is not None
        if answer.hang:
            import asyncio

            await asyncio.sleep(60)
        text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        headers = {"Content-Type": "application/json", **answer.headers}
        if not answer.cut:
            return web.Response(text=text, status=answer.status, headers=headers)
        response = web.StreamResponse(status=answer.status, headers={**headers, "Content-Length": "10000"})
        await response.prepare(request)
        await response.write(text[: len(text) // 2].encode())
        transport.abort()
        return response


@asynccontextmanager
async def serving() -> AsyncIterator[LLMServer]:
    """Serve on a free port of the loopback."""
    server = LLMServer()
    application = web.Application()
    application.router.add_post("/{path:.*}", server.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()
