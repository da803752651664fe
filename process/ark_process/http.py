"""The HTTP endpoint of a program: ``/metrics`` for Prometheus, ``/healthz`` and ``/readyz`` for Kubernetes.

With a certificate all of it is HTTPS; probes then need ``scheme: HTTPS``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

from ark_process.certificate import Certificate
from ark_process.metrics_access import MetricsAccess

_STOP_SECONDS = 1.0
"""How long open HTTP requests may take to end when the program stops."""


class PortInUse(Exception):
    """The address that the HTTP endpoint should listen on is taken or not this machine's."""


class _Collected(CollectorRegistry):
    """Metrics as they were at one moment."""

    def __init__(self, families: list[Metric]) -> None:
        super().__init__(auto_describe=False)
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


@asynccontextmanager
async def serve(
    host: str,
    port: int,
    registry: CollectorRegistry,
    not_ready: Callable[[], str | None],
    before_scrape: Callable[[], Awaitable[None]],
    *,
    not_alive: Callable[[], str | None] = lambda: None,
    certificate: Certificate | None = None,
    access: MetricsAccess | None = None,
) -> AsyncIterator[int]:
    """Serve the endpoint while the context is open; gives the port that it listens on.

    Args:
        host: address to listen on.
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

    async def metrics(request: web.Request) -> web.Response:
        refusal = await access.refusal(request.headers.get("Authorization")) if access is not None else None
        if refusal is not None:
            return web.Response(status=refusal.status, text=f"{refusal.reason}\n")
        await before_scrape()
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        # The values are read here, in one piece; the text of thousands of queues is made beside the event loop.
        shown = _Collected(list(registry.collect()))
        body = await asyncio.to_thread(encode, shown)
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def healthz(_: web.Request) -> web.Response:
        return _answer(not_alive())

    async def readyz(_: web.Request) -> web.Response:
        return _answer(not_ready())

    application = web.Application()
    application.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz), web.get("/readyz", readyz)])
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=_STOP_SECONDS)
    await runner.setup()
    try:
        context = certificate.context() if certificate is not None else None
        site = web.TCPSite(runner, host, port, ssl_context=context)
        try:
            await site.start()
        except OSError as error:
            raise PortInUse(f"cannot listen on {host}:{port} for HTTP: {error.strerror or error}") from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _answer(problem: str | None) -> web.Response:
    return web.Response(text="ok\n") if problem is None else web.Response(status=503, text=f"{problem}\n")
