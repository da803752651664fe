"""Services: which Pods a port leads to, and the sockets that lead there."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hack.cluster.node.services import Endpoint, ServiceProxy, chosen
from hack.local.process import free_port

HOST = "127.96.7.7"
ENDPOINTS = [
    Endpoint("127.64.0.1", {"app": "a", "v": "1"}, {"grpc": 6000}),
    Endpoint("127.64.0.2", {"app": "a"}, {}, ready=False),
    Endpoint("127.64.0.3", {"app": "b"}, {"grpc": 6001}),
    Endpoint("127.64.0.4", {"app": "a"}, {}, terminating=True),
]


def service(port: int = 80, selector: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"uid": "u", "name": "s", "namespace": "default"},
        "spec": {"clusterIP": HOST, "ports": [{"port": port}], "selector": selector or {"app": "a"}, **spec},
    }


@pytest.mark.parametrize(
    ("wanted", "port", "found"),
    [
        (service(), {"port": 80}, [("127.64.0.1", 80)]),
        (service(), {"port": 80, "targetPort": 90}, [("127.64.0.1", 90)]),
        (service(), {"port": 80, "targetPort": "grpc"}, [("127.64.0.1", 6000)]),
        (
            service(publishNotReadyAddresses=True),
            {"port": 80},
            [("127.64.0.1", 80), ("127.64.0.2", 80), ("127.64.0.4", 80)],
        ),
        (service(selector={"app": "a", "v": "2"}), {"port": 80}, []),
    ],
)
def test_a_port_leads_to_ready_pods_that_the_selector_matches(
    wanted: dict[str, Any], port: dict[str, Any], found: list[tuple[str, int]]
) -> None:
    assert chosen(wanted, port, ENDPOINTS) == found


@asynccontextmanager
async def pod(name: str, host: str, port: int) -> AsyncIterator[Endpoint]:
    """Run a server that answers every line with its name."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(f"{name} {line.decode()}".encode())
        writer.close()

    async with await asyncio.start_server(serve, host, port):
        yield Endpoint(host, {"app": "a"}, {})


async def ask(port: int) -> str:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(b"hello\n")
    writer.write_eof()
    try:
        return (await reader.read()).decode().strip()
    finally:
        writer.close()


async def test_an_answer_comes_after_a_client_has_said_its_last_whatever_is_collected_meanwhile() -> None:
    """Nothing but the proxy holds such a connection: its client's transport has left the event loop."""
    port, host = free_port(), "127.64.7.3"

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        gc.collect()
        await asyncio.sleep(0.05)
        gc.collect()
        writer.write(b"late\n")
        writer.close()

    proxy = ServiceProxy(lambda _: [Endpoint(host, {"app": "a"}, {})])
    await proxy.update(service(port))
    async with await asyncio.start_server(slow, host, port):
        assert await ask(port) == "late"
    await proxy.close()


async def test_connections_go_to_the_pods_in_turns_and_none_is_a_reset() -> None:
    port = free_port()
    endpoints: list[Endpoint] = []
    proxy = ServiceProxy(lambda _: endpoints)
    await proxy.update(service(port))
    try:
        with pytest.raises(ConnectionResetError):
            await ask(port)
        async with pod("one", "127.64.7.1", port) as first, pod("two", "127.64.7.2", port) as second:
            endpoints[:] = [first, second]
            assert {await ask(port), await ask(port)} == {"one hello", "two hello"}
            endpoints[:] = [second]
            assert [await ask(port), await ask(port)] == ["two hello"] * 2
        await proxy.update(service(port, selector={"app": "nobody"}))
        with pytest.raises(ConnectionResetError):
            await ask(port)
    finally:
        await proxy.close()
    with pytest.raises(ConnectionRefusedError):
        await ask(port)
