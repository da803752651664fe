"""The HTTP endpoint of a program: ``/metrics`` for Prometheus, ``/healthz`` and ``/readyz`` for Kubernetes.

With a certificate all of it is HTTPS; probes then need ``scheme: HTTPS``.

Whoever reaches the port can open connections and ask for metrics. So a connection that does not send a request in time
is closed, there are no more than so many at a time, and metrics are rendered once for all who ask meanwhile.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

from ark_process.certificate import CertificateFiles, reloading_context
from ark_process.metrics_access import MetricsAccess

_STOP_SECONDS = 1.0
"""How long open HTTP requests may take to end when the program stops."""
_REQUEST_SECONDS = 10.0
"""A connection whose first request has not come in whole after this is closed."""
_KEEP_SECONDS = 75.0
"""A connection is kept for a further request for so long: longer than Prometheus' usual interval."""
_MOST_CONNECTIONS = 512
"""At a time. Probes and Prometheus need a handful; beyond this one goes for each that comes."""
_TAKE_SECONDS = 30.0
"""A connection that does not take its answer within this is closed: it holds as much memory as the metrics have."""
_MOST_UNTAKEN = 16
"""Such answers at a time; beyond this the connection that has waited longest goes."""
_BACKLOG = 1024


class PortInUse(Exception):
    """The address that the HTTP endpoint should listen on is taken or not this machine's."""


class _Collected(CollectorRegistry):
    """Metrics as they were at one moment."""

    def __init__(self, families: list[Metric]) -> None:
        super().__init__(auto_describe=False)
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


class _Scrapes:
    """Renders the metrics, once at a time: whoever asks meanwhile shares the next rendering."""

    def __init__(self, registry: CollectorRegistry, before: Callable[[], Awaitable[None]]) -> None:
        self._registry = registry
        self._before = before
        self._turn = asyncio.Lock()
        self._begun = 0
        self._rendered = 0
        """The last of the begun readings that has succeeded: one that fails is nobody else's answer."""
        self._families: list[Metric] = []
        self._bodies: dict[str, bytes] = {}

    async def render(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics as they are at some moment after this call, and their content type."""
        encode, content_type = choose_encoder(accept)
        wanted = self._begun + 1  # the one that is under way may have read before this call
        async with self._turn:
            if self._rendered < wanted:
                self._begun += 1
                await self._before()
                # The values are read here, in one piece; the text of thousands of queues is made beside the event loop.
                self._families, self._bodies = list(self._registry.collect()), {}
                self._rendered = self._begun
            if content_type not in self._bodies:
                self._bodies[content_type] = await asyncio.to_thread(encode, _Collected(self._families))
            return self._bodies[content_type], content_type


class _Connections:
    """The open connections of one endpoint."""

    def __init__(self, server: Callable[[], asyncio.Protocol]) -> None:
        self._server = server
        self._open: dict[asyncio.Transport, asyncio.TimerHandle | None] = {}
        """With what closes those that have not sent a request yet; the one that has asked longest ago is the first."""
        self._untaken: dict[asyncio.Transport, asyncio.TimerHandle] = {}
        """With what closes those that do not take their answers; the one that has waited longest is the first."""

    def accept(self) -> asyncio.Protocol:
        """Make the protocol of a new connection."""
        return _Connection(self, self._server())

    def opened(self, transport: asyncio.Transport) -> None:
        """Take a connection in; where there are too many, one goes for it: of those that never asked, else of all."""
        if len(self._open) >= _MOST_CONNECTIONS:
            silent = (known for known, closing in self._open.items() if closing is not None)
            next(silent, next(iter(self._open))).abort()
        timer = asyncio.get_running_loop().call_later(_REQUEST_SECONDS, transport.abort)
        self._open[transport] = timer

    def asked(self, transport: asyncio.Transport | None) -> None:
        """Note that a connection has sent a request."""
        if transport is not None and transport in self._open:
            timer = self._open.pop(transport)
            if timer is not None:
                timer.cancel()
            self._open[transport] = None

    def fills(self, transport: asyncio.Transport | None) -> None:
        """Note that a connection does not take its answer as fast as it is written."""
        if transport is None or transport in self._untaken:
            return
        if len(self._untaken) >= _MOST_UNTAKEN:
            oldest = next(iter(self._untaken))
            self.takes(oldest)  # it is gone in the loop's next round, and others may come in this one
            oldest.abort()
        timer = asyncio.get_running_loop().call_later(_TAKE_SECONDS, transport.abort)
        self._untaken[transport] = timer

    def takes(self, transport: asyncio.Transport | None) -> None:
        """Note that it has taken it."""
        timer = self._untaken.pop(transport, None) if transport is not None else None
        if timer is not None:
            timer.cancel()

    def closed(self, transport: asyncio.Transport) -> None:
        """Forget a connection."""
        self.takes(transport)
        timer = self._open.pop(transport, None)
        if timer is not None:
            timer.cancel()


class _Connection(asyncio.Protocol):
    """One connection: aiohttp's, with a time within which its first request has to come."""

    def __init__(self, connections: _Connections, inner: asyncio.Protocol) -> None:
        self._connections = connections
        self._inner = inner
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._inner.connection_made(transport)
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
            self._connections.opened(transport)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._connections.fills(self._transport)
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._connections.takes(self._transport)
        self._inner.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        if self._transport is not None:
            self._connections.closed(self._transport)
        self._inner.connection_lost(error)


@asynccontextmanager
async def serve(
    host: str,
    port: int,
    registry: CollectorRegistry,
    not_ready: Callable[[], str | None],
    before_scrape: Callable[[], Awaitable[None]],
    *,
    not_alive: Callable[[], str | None] = lambda: None,
    certificate: CertificateFiles | None = None,
    access: MetricsAccess | None = None,
) -> AsyncIterator[int]:
    """Serve the endpoint while the context is open; gives the port that it listens on.

    Args:
        host: address to listen on; empty for all, IPv4 and IPv6.
        port: TCP port; 0 takes a free one.
        registry: the metrics that ``/metrics`` shows.
        not_ready: the reason why the program is not ready, None when it is. ``/readyz`` shows it with status 503.
        before_scrape: awaited before the metrics are rendered, so that they are fresh; must bound its own time.
        not_alive: the reason why the program should be restarted, None when it should not. ``/healthz`` shows it with
            status 503.
        certificate: the server's; plain HTTP where None.
        access: says who may see ``/metrics``; everybody where None.

    Raises:
        BadCertificate: it cannot be read.
        PortInUse: the address cannot be listened on.
    """

    async def note(request: web.Request) -> None:
        connections.asked(request.transport)

    application = _application(_Scrapes(registry, before_scrape), not_ready, not_alive, access, note)
    runner = web.AppRunner(
        application, access_log=None, shutdown_timeout=_STOP_SECONDS, keepalive_timeout=_KEEP_SECONDS
    )
    await runner.setup()
    assert runner.server is not None
    connections = _Connections(runner.server)
    try:
        context = reloading_context(certificate) if certificate is not None else None
        try:
            listening = _listen(host, port)
        except OSError as error:
            raise PortInUse(f"cannot listen on {host}:{port} for HTTP: {error.strerror or error}") from error
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            connections.accept,
            sock=listening,
            ssl=context,
            ssl_handshake_timeout=_REQUEST_SECONDS if context is not None else None,
        )
        try:
            yield listening.getsockname()[1]
        finally:
            server.close()
    finally:
        await runner.cleanup()


def _application(
    scrapes: _Scrapes,
    not_ready: Callable[[], str | None],
    not_alive: Callable[[], str | None],
    access: MetricsAccess | None,
    note: Callable[[web.Request], Awaitable[None]],
) -> web.Application:
    """Return the routes; each request is noted when it comes."""

    async def metrics(request: web.Request) -> web.Response:
        if access is not None:
            refusal = await access.refusal(request.headers.get("Authorization"), request.remote or "")
            if refusal is not None:
                return web.Response(status=refusal.status, text=f"{refusal.reason}\n")
        body, content_type = await scrapes.render(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def healthz(_: web.Request) -> web.Response:
        return _answer(not_alive())

    async def readyz(_: web.Request) -> web.Response:
        return _answer(not_ready())

    @web.middleware
    async def noted(request: web.Request, handler: Any) -> web.StreamResponse:
        await note(request)
        response: web.StreamResponse = await handler(request)
        return response

    application = web.Application(middlewares=[noted])
    application.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz), web.get("/readyz", readyz)])
    return application


def _listen(host: str, port: int) -> socket.socket:
    """Open a socket; without a host one for both families, where the machine has IPv6."""
    if not host and socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_BACKLOG)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.getaddrinfo(host or None, port, family, socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return socket.create_server(found[0][4][:2], family=family, backlog=_BACKLOG)


def _answer(problem: str | None) -> web.Response:
    return web.Response(text="ok\n") if problem is None else web.Response(status=503, text=f"{problem}\n")
