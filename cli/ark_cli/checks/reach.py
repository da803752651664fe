"""Whether the scaler answers, asked as KEDA asks: over gRPC, with KEDA's own certificate."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ark_cli.checks.finding import Finding, fault, ok, unknown, warning
from ark_cli.checks.installation import place
from ark_cli.errors import CliError
from ark_cli.kubectl import Kubectl, Object
from ark_cli.port_forward import forwarded

_SECONDS = 10.0
_DIRECT = (("grpc.enable_http_proxy", 0),)
"""A port-forward is on this machine, whatever proxy its user has."""
_PORT = "grpc"
"""The port's name in the scaler's container."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What KEDA shows, and what it trusts; PEM."""

    certificate: bytes
    key: bytes
    authority: bytes
    host: str
    """The name that the scaler's certificate must have."""


class NoAnswer(Exception):
    """The scaler did not answer; the message says why."""


async def reached(kubectl: Kubectl, scaler: Object, credentials: Credentials | None) -> Finding:
    """Ask a scaler for its health through a port-forward.

    Args:
        kubectl: the way there.
        scaler: its Deployment, whose name its Service has.
        credentials: None where it speaks without TLS.
    """
    what = f"{place(scaler)}"
    port = _port(scaler)
    if port is None:
        return unknown(f"{what} has no port named {_PORT}")
    metadata = scaler["metadata"]
    logs = f"kubectl -n {metadata['namespace']} logs deployment/{metadata['name']}"
    try:
        async with forwarded(kubectl, metadata["namespace"], metadata["name"], port) as local:
            serves = await is_serving(local, credentials)
    except CliError as error:
        return unknown(f"whether {what} answers: {error}")
    except NoAnswer as error:
        return fault(f"{what} does not answer as KEDA asks it: {error}", logs)
    if not serves:
        return warning(f"{what} answers that it is not ready: no Redis has answered it yet", logs)
    return ok(f"{what} answers" + (" over TLS with KEDA's certificate" if credentials is not None else ""))


async def is_serving(port: int, credentials: Credentials | None) -> bool:
    """Ask a scaler on this machine for its health (gRPC Health Checking Protocol).

    Args:
        port: where it listens.
        credentials: see `reached`.

    Raises:
        NoAnswer: it refuses the connection or the call, or says nothing in time.
    """
    # gRPC writes what goes wrong in a handshake to stderr, beside the finding; it reads this when it is imported, which
    # takes longer than most commands.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import grpc  # noqa: PLC0415
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415

    address = f"127.0.0.1:{port}"
    if credentials is None:
        channel = grpc.aio.insecure_channel(address, _DIRECT)
    else:
        shown = grpc.ssl_channel_credentials(credentials.authority, credentials.key, credentials.certificate)
        channel = grpc.aio.secure_channel(
            address, shown, [*_DIRECT, ("grpc.ssl_target_name_override", credentials.host)]
        )
    async with channel:
        try:
            response = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            raise NoAnswer(f"{error.code().name}: {error.details()}") from error
    return bool(response.status == health_pb2.HealthCheckResponse.SERVING)


def _port(scaler: Object) -> int | None:
    for container in scaler["spec"]["template"]["spec"]["containers"]:
        for port in container.get("ports") or []:
            if port.get("name") == _PORT:
                return int(port["containerPort"])
    return None
