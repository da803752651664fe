"""Whether the scaler answers, asked as KEDA asks: over TLS with KEDA's own certificate, in HTTP/2."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ark_cli.checks.finding import Finding, fault, ok, unknown
from ark_cli.checks.installation import place
from ark_cli.errors import CliError
from ark_cli.kubectl import Kubectl, Object
from ark_cli.port_forward import forwarded

_SECONDS = 10.0
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""What a client of HTTP/2 says first, with empty settings (RFC 9113, sections 3.4 and 6.5)."""
_FRAME_HEADER = 9
_SETTINGS = 4
_PORT = "grpc"
"""The port's name in the scaler's container."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What KEDA shows, and what it trusts; PEM."""

    certificate: bytes
    key: bytes
    authority: bytes


async def reached(kubectl: Kubectl, scaler: Object, host: str | None, credentials: Credentials | None) -> Finding:
    """Say hello to a scaler through a port-forward, and see whether it says hello, too.

    Args:
        kubectl: the way there.
        scaler: its Deployment, whose name its Service has.
        host: the name that its certificate must have; any name where None.
        credentials: None where it speaks without TLS.
    """
    what = f"{place(scaler)}"
    port = _port(scaler)
    if port is None:
        return unknown(f"{what} has no port named {_PORT}")
    metadata = scaler["metadata"]
    try:
        async with forwarded(kubectl, metadata["namespace"], metadata["name"], port) as local:
            context = None if credentials is None else _context(host, credentials)
            await _hello(local, context, host)
    except CliError as error:
        return unknown(f"whether {what} answers: {error}")
    except (OSError, EOFError, TimeoutError) as error:
        return fault(
            f"{what} does not answer as KEDA asks it: {error or 'nothing said within 10 s'}",
            f"kubectl -n {metadata['namespace']} logs deployment/{metadata['name']}",
        )
    return ok(f"{what} answers" + (" KEDA's certificate over TLS" if credentials is not None else ""))


async def _hello(port: int, context: ssl.SSLContext | None, host: str | None) -> None:
    async with asyncio.timeout(_SECONDS):
        name = (host or "") if context is not None else None
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
        try:
            writer.write(_HELLO)
            await writer.drain()
            # A certificate that the server does not take is told here, after the handshake (TLS 1.3).
            header = await reader.readexactly(_FRAME_HEADER)
        finally:
            writer.transport.abort()
    if header[3] != _SETTINGS:
        raise OSError("no HTTP/2 server")


def _context(host: str | None, credentials: Credentials) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=credentials.authority.decode())
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as KEDA: Go knows no such rule
    context.check_hostname = host is not None
    context.set_alpn_protocols(["h2"])
    with tempfile.TemporaryDirectory(prefix="ark-doctor-") as folder:  # of this user alone
        certificate, key = Path(folder) / "tls.crt", Path(folder) / "tls.key"
        certificate.write_bytes(credentials.certificate)
        key.write_bytes(credentials.key)
        context.load_cert_chain(certificate, key)
    return context


def _port(scaler: Object) -> int | None:
    for container in scaler["spec"]["template"]["spec"]["containers"]:
        for port in container.get("ports") or []:
            if port.get("name") == _PORT:
                return int(port["containerPort"])
    return None
