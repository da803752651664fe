"""Services: each cluster address and port is a listening socket that forwards to a ready Pod."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

from hack.cluster.node.environment import service_links

Object = dict[str, Any]

_CHUNK = 65536
_CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A Pod that runs."""

    ip: str
    labels: dict[str, str]
    ports: dict[str, int]
    """Its containers' named ports."""
    ready: bool = True
    terminating: bool = False


Endpoints = Callable[[str], Iterable[Endpoint]]
"""Answers the Pods of a namespace that run."""


def chosen(service: Object, port: Object, endpoints: Iterable[Endpoint]) -> list[tuple[str, int]]:
    """Return the addresses that a Service's port leads to.

    Those of Pods that are ready and stay; of all where ``publishNotReadyAddresses`` says so, as the EndpointSlice
    controller has it.
    """
    selector = service["spec"].get("selector") or {}
    unready_too = service["spec"].get("publishNotReadyAddresses", False)
    target = port.get("targetPort", port["port"])
    found = []
    for endpoint in endpoints:
        if (
            (unready_too or (endpoint.ready and not endpoint.terminating))
            and selector
            and selector.items() <= endpoint.labels.items()
        ):
            number = endpoint.ports.get(target) if isinstance(target, str) else target
            if number is not None:
                found.append((endpoint.ip, number))
    return found


class ServiceProxy:
    """Listens for all Services; leaving its context closes every socket.

    Args:
        endpoints: answers the Pods of a namespace that run.
    """

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._services: dict[str, Object] = {}
        """By uid."""
        self._servers: dict[str, list[asyncio.Server]] = {}
        self._connections: set[asyncio.Task[None]] = set()
        """Those that are open; without a reference here, one whose client has said its last would be collected."""
        self._turn = 0
        self._log = structlog.get_logger(component="services")

    async def update(self, service: Object) -> None:
        """Take a Service that is new or has changed."""
        uid, spec = service["metadata"]["uid"], service["spec"]
        before = self._services.get(uid)
        self._services[uid] = service
        if before is not None and _listens(before) == _listens(service):
            return
        self.remove(service)
        self._services[uid] = service
        ip = spec.get("clusterIP", "")
        if spec.get("type") == "ExternalName" or not ip.startswith("127.") or not spec.get("selector"):
            return
        self._servers[uid] = [server for port in spec["ports"] if (server := await self._listen(uid, ip, port))]

    def remove(self, service: Object) -> None:
        """Forget a Service."""
        uid = service["metadata"]["uid"]
        self._services.pop(uid, None)
        for server in self._servers.pop(uid, []):
            server.close()

    def links(self, namespace: str) -> dict[str, str]:
        """Return the variables that Pods of a namespace are told of its Services by."""
        return service_links(item for item in self._services.values() if item["metadata"]["namespace"] == namespace)

    async def close(self) -> None:
        """Close all sockets and connections."""
        for service in list(self._services.values()):
            self.remove(service)
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _listen(self, uid: str, ip: str, port: Object) -> asyncio.Server | None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            own = asyncio.current_task()
            assert own is not None
            self._connections.add(own)
            own.add_done_callback(self._connections.discard)
            service = self._services.get(uid)
            pods = self._endpoints(service["metadata"]["namespace"]) if service else []
            addresses = chosen(service, port, pods) if service else []
            await self._forward(addresses, reader, writer)

        try:
            return await asyncio.start_server(serve, ip, port["port"])
        except OSError as error:
            self._log.error("service cannot be listened for", address=f"{ip}:{port['port']}", error=str(error))
            return None

    async def _forward(
        self, addresses: Sequence[tuple[str, int]], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Connect a client with one of the addresses, in turns; with none of them it sees a reset."""
        self._turn += 1
        upstream = await _connected(addresses[self._turn % len(addresses)]) if addresses else None
        if upstream is None:
            writer.transport.abort()
            return
        up_reader, up_writer = upstream
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(_pump(reader, up_writer))
                pumps.create_task(_pump(up_reader, writer))
        finally:
            for end in (writer, up_writer):
                end.transport.abort()


def _listens(service: Object) -> tuple[Any, ...]:
    """Return what decides on a Service's sockets."""
    spec = service["spec"]
    ports = [(port["port"], port.get("targetPort")) for port in spec.get("ports", [])]
    return spec.get("type"), spec.get("clusterIP"), bool(spec.get("selector")), ports


async def _connected(address: tuple[str, int]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            return await asyncio.open_connection(*address)
    except (OSError, TimeoutError):
        return None


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy one direction to its end, and pass the end on."""
    with suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
        return
    writer.transport.abort()
