"""The scaler as a process: wires its parts, starts and stops them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ark_api.tenancy import Tenancy
from ark_process import http, program, settings
from ark_process.certificate import BadCertificate, CertificateFiles
from ark_process.leaving import Departure, Readiness
from ark_scaler import garbage
from ark_scaler.callers import CallersNames
from ark_scaler.metrics import ScalerMetrics
from ark_scaler.observer import QueueObserver, first_not_ready
from ark_scaler.servicer import ScalerServicer
from ark_scaler.settings import ScalerSettings
from ark_scaler.tls import credentials
from ark_scaler.watch import WATCH_CONNECTIONS
from ark_scaler.wire import externalscaler_pb2, externalscaler_pb2_grpc
from ark_taskqueue import Client, connect

_SERVICE = externalscaler_pb2.DESCRIPTOR.services_by_name["ExternalScaler"].full_name
_LARGEST_REQUEST_BYTES = 16 * 1024
"""Far more than a trigger's metadata; parsed triggers are remembered by their bytes."""
_MOST_PENDING_REQUESTS = 100_000
_HANDSHAKE_MS = 10_000
"""A connection that has not begun to speak HTTP/2 after this is closed, milliseconds."""
_IDLE_MS = 20_000
"""A connection without a call is closed after this, milliseconds: KEDA opens another one for its next call, and the
others must not keep it from that. With push it has a stream open all the time."""
_MOST_CONNECTIONS = 2_000
"""KEDA has one for each scaler address and each certificate; ten thousand streams share it."""
_COMMAND_CONNECTIONS = 2
_HEALTH_SECONDS = 0.5
"""Time between looks at the readiness for gRPC's health service."""


class CannotStart(Exception):
    """The scaler cannot start; the message names what is wrong, for a person."""


@dataclass(frozen=True, slots=True)
class RunningScaler:
    """A running scaler, and where it listens."""

    grpc_port: int
    http_port: int
    leave: Callable[[], bool]
    """Says that it is not ready from now on, and answers whether it ever said that it is: then a Service may send
    somebody here for a moment more, so serve on."""


class _Health(health.aio.HealthServicer):  # type: ignore[misc] # it has no types
    """gRPC's health service; whoever asks it is a probe."""

    def __init__(self, readiness: Readiness) -> None:
        super().__init__()
        self._readiness = readiness

    async def Check(  # noqa: N802 - gRPC's name
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> health_pb2.HealthCheckResponse:
        answer: health_pb2.HealthCheckResponse = await super().Check(request, context)
        if answer.status == health_pb2.HealthCheckResponse.SERVING:
            self._readiness.told()
        return answer


@asynccontextmanager
async def running(config: ScalerSettings) -> AsyncIterator[RunningScaler]:
    """Run a scaler while the context is open, then stop it: streams end with OK, calls under way are finished.

    Raises:
        CannotStart: a port is in use, or a certificate unusable.
    """
    log = structlog.get_logger(component="server")
    metrics = ScalerMetrics()
    async with AsyncExitStack() as stack:
        observers = {name: _observer(stack, name, url, config, metrics) for name, url in config.connections.items()}
        metrics.show_depths(lambda: (depth for observer in observers.values() for depth in observer.known_depths()))
        metrics.show_budgets(
            lambda: ((observer.name, *known) for observer in observers.values() for known in observer.budgets.known())
        )
        servicer = ScalerServicer(observers, Tenancy.of(config.rules), metrics)
        readiness = Readiness(lambda: first_not_ready(observers.values()), "scaler")
        checker = _Health(readiness)
        server = _server(config, servicer, checker)
        grpc_port = _listen(server, config)
        http_port = await _serve_http(stack, config, metrics, observers, readiness)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(observer.run()) for observer in observers.values()]
            tasks.append(group.create_task(_report_health(checker, readiness)))
            tasks.append(group.create_task(garbage.collect_all_seldom()))
            stack.enter_context(garbage.short_pauses())
            await server.start()
            log.info("scaler is listening", grpc_port=grpc_port, http_port=http_port, tls=config.tls_cert is not None)
            try:
                yield RunningScaler(grpc_port, http_port, readiness.leave)
            finally:
                log.info("scaler is stopping")
                await checker.enter_graceful_shutdown()
                servicer.close()
                await server.stop(config.shutdown_seconds)
                for task in tasks:
                    task.cancel()


async def _serve_http(
    stack: AsyncExitStack,
    config: ScalerSettings,
    metrics: ScalerMetrics,
    observers: Mapping[str, QueueObserver],
    readiness: Readiness,
) -> int:
    async def refresh_all() -> None:
        await asyncio.gather(*(observer.refresh() for observer in observers.values()))

    endpoint = http.serve(
        config.host,
        config.http_port,
        metrics.registry,
        not_ready=readiness.told,
        before_scrape=refresh_all,
        certificate=config.http_certificate,
        access=config.metrics_access,
    )
    try:
        return await stack.enter_async_context(endpoint)
    except http.PortInUse as error:
        raise CannotStart(f"{error}; choose another with --http-port") from error
    except BadCertificate as error:
        raise CannotStart(str(error)) from error


def _observer(
    stack: AsyncExitStack, name: str, url: str, config: ScalerSettings, metrics: ScalerMetrics
) -> QueueObserver:
    # Redis gets less time than the whole call, so that the error says what Redis did.
    timeout = config.redis_timeout_seconds * 0.9
    clients: list[Client] = []
    for connections in (_COMMAND_CONNECTIONS, WATCH_CONNECTIONS):
        client = connect(url, timeout=timeout, max_connections=connections, name="ark-scaler")
        stack.push_async_callback(client.aclose)
        clients.append(client)
    commands, watching = clients
    return QueueObserver(
        name,
        commands,
        watching,
        metrics,
        timeout=config.redis_timeout_seconds,
        hold_seconds=config.hold_seconds,
    )


def _server(config: ScalerSettings, servicer: ScalerServicer, checker: health.aio.HealthServicer) -> grpc.aio.Server:
    keepalive_ms = int(config.keepalive_seconds * 1000)
    server = grpc.aio.server(
        interceptors=[CallersNames(config.client_names)] if config.client_names else [],
        options=[
            # Whoever reaches the port can open connections that say nothing.
            ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
            ("grpc.max_allowed_incoming_connections", _MOST_CONNECTIONS),
            ("grpc.max_connection_idle_ms", _IDLE_MS),
            ("grpc.so_reuseport", 0),  # a port in use is an error, not a share of its calls
            ("grpc.max_receive_message_length", _LARGEST_REQUEST_BYTES),
            # After a restart KEDA opens all its streams at once; by default gRPC cancels most of a thousand and more.
            ("grpc.server.max_pending_requests", _MOST_PENDING_REQUESTS),
            ("grpc.server.max_pending_requests_hard_limit", _MOST_PENDING_REQUESTS),
            # KEDA sends no pings of its own: these notice a KEDA that is gone.
            ("grpc.keepalive_time_ms", keepalive_ms),
            ("grpc.keepalive_timeout_ms", keepalive_ms // 3),
            ("grpc.http2.ping_timeout_ms", keepalive_ms // 3),  # what gRPC waits in fact; a minute by default
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.min_ping_interval_without_data_ms", 5000),
        ],
    )
    externalscaler_pb2_grpc.add_ExternalScalerServicer_to_server(servicer, server)
    health_pb2_grpc.add_HealthServicer_to_server(checker, server)
    reflection.enable_server_reflection([_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    return server


def _listen(server: grpc.aio.Server, config: ScalerSettings) -> int:
    # gRPC listens on both families at "[::]", and on IPv4 alone where there is no IPv6.
    host = f"[{config.host or '::'}]" if ":" in config.host or not config.host else config.host
    address = f"{host}:{config.port}"
    try:
        if config.tls_cert is None or config.tls_key is None:
            return server.add_insecure_port(address)
        files = CertificateFiles(config.tls_cert, config.tls_key, config.tls_client_ca)
        return server.add_secure_port(address, credentials(files))
    except BadCertificate as error:
        raise CannotStart(str(error)) from error
    except RuntimeError as error:
        raise CannotStart(f"cannot listen on {address} for gRPC: address in use or not local; set --port") from error


async def _report_health(checker: health.aio.HealthServicer, readiness: Readiness) -> None:
    """Tell gRPC's health service whether the scaler is ready."""
    statuses = health_pb2.HealthCheckResponse
    while True:
        status = statuses.NOT_SERVING if readiness.lacks() else statuses.SERVING
        for service in ("", _SERVICE):
            await checker.set(service, status)
        await asyncio.sleep(_HEALTH_SECONDS)


async def _run(config: ScalerSettings) -> None:
    departure = Departure()
    async with running(config) as scaler:
        await departure.asked.wait()
        if scaler.leave():
            await departure.drain(config.drain_seconds)


def main() -> None:
    """Run the scaler until SIGTERM or Ctrl-C."""
    config = program.begin(ScalerSettings)
    try:
        asyncio.run(_run(config))
    except CannotStart as error:
        settings.exit_with_usage_error(ScalerSettings, [str(error)])
