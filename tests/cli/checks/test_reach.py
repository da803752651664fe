"""The doctor's call to the scaler: as KEDA makes it, over gRPC and with KEDA's certificate."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import trustme

from ark_cli.checks.reach import Credentials, NoAnswer, is_serving
from ark_scaler.server import running
from hack.local.process import free_port
from hack.local.redis_server import RedisServer
from tests.eventually import eventually
from tests.scaler.keda import settings
from tests.scaler.test_tls import Pki


def credentials(pki: Pki, ca: trustme.CA | None = None, host: str = "localhost") -> Credentials:
    """Return what KEDA shows with a certificate of a CA; of the one that the scaler trusts where None."""
    issued = (ca or pki.ca).issue_cert("keda-operator")
    pems = issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes(), pki.ca.cert_pem.bytes()
    return Credentials(*pems, host)


async def test_a_scaler_that_has_reached_redis_serves(redis_server: RedisServer) -> None:
    async with running(settings(redis=redis_server.url)) as scaler:
        await eventually(lambda: is_serving(scaler.grpc_port, None), "the health of a ready scaler")


async def test_a_scaler_without_redis_answers_that_it_is_not_ready() -> None:
    async with running(settings(redis=f"redis://127.0.0.1:{free_port()}/0")) as scaler:
        assert await is_serving(scaler.grpc_port, None) is False


async def test_the_users_proxy_is_not_asked(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    async with running(settings(redis=redis_server.url)) as scaler:
        await eventually(lambda: is_serving(scaler.grpc_port, None), "the health of a ready scaler")


async def test_over_tls_both_certificates_are_checked(redis_server: RedisServer, tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    async with running(settings(**pki.settings(redis_server.url))) as scaler:
        port = scaler.grpc_port
        await eventually(lambda: is_serving(port, credentials(pki)), "the health of a ready scaler")
        for wrong in (credentials(pki, trustme.CA()), credentials(pki, host="elsewhere"), None):
            with pytest.raises(NoAnswer, match="UNAVAILABLE"):
                await is_serving(port, wrong)


async def test_something_else_on_the_port_is_no_scaler() -> None:
    """It speaks HTTP/1.1; one that says hello in HTTP/2 and knows no gRPC would do no better."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        with pytest.raises(NoAnswer):
            await is_serving(server.sockets[0].getsockname()[1], None)
    with pytest.raises(NoAnswer, match="UNAVAILABLE"):
        await is_serving(free_port(), None)
