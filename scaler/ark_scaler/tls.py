"""TLS for the gRPC server, with certificates that are read again when their files change.

Certificates are short-lived (cert-manager renews them in the mounted Secret); a scaler that needs a restart to see
that is a scaler that fails once in ninety days. gRPC asks for the present certificate at every handshake.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import grpc
import structlog


class UnusableCertificate(Exception):
    """A certificate, key or CA file cannot be read or does not fit; the message names it."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where the server's certificate lies (PEM)."""

    certificate: Path
    """The server's certificate, and those between it and its CA."""
    key: Path
    """Its private key, not encrypted."""
    client_ca: Path | None = None
    """CA of the clients' certificates; with it a client without a valid one is refused (mTLS)."""


class ReloadingCertificate:
    """Answers gRPC's question for the present certificate.

    Raises:
        UnusableCertificate: a file cannot be used.
    """

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._log = structlog.get_logger(component="tls")
        self._stamps = self._read_stamps()
        self._initial = _load(files)

    def credentials(self) -> grpc.ServerCredentials:
        """Return the credentials of a server that uses the certificate."""
        return grpc.dynamic_ssl_server_credentials(
            self._initial,
            # The stubs leave out that None keeps the present configuration.
            cast("Callable[[], grpc.ServerCertificateConfiguration]", self._changed),
            require_client_authentication=self._files.client_ca is not None,
        )

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the new certificate when the files changed; None keeps the one in use.

        Called by gRPC before each handshake, from a thread of its own. A renewal is seen half-written at times; then
        the one in use stays, and the next handshake looks again.
        """
        stamps = self._read_stamps()
        if stamps == self._stamps:
            return None
        try:
            configuration = _load(self._files)
        except UnusableCertificate as error:
            self._log.error("certificate files changed but cannot be used, the old ones stay", error=str(error))
            return None
        self._stamps = stamps
        self._log.info("certificate read again", certificate=str(self._files.certificate))
        return configuration

    def _read_stamps(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in (self._files.certificate, self._files.key, self._files.client_ca))


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    """What changes when a file is replaced, a mounted Secret's symbolic link too."""
    try:
        status = path.stat() if path else None
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_ino, status.st_size) if status else None


def _load(files: CertificateFiles) -> grpc.ServerCertificateConfiguration:
    certificate = _read("certificate", files.certificate)
    key = _read("private key", files.key)
    client_ca = _read("client CA", files.client_ca) if files.client_ca else None
    # gRPC takes anything and fails at the first handshake, without saying why; OpenSSL says it now.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(files.certificate, files.key, password="")
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise UnusableCertificate(
            f"certificate {files.certificate} and key {files.key} cannot be used: {reason}"
        ) from error
    if files.client_ca:
        try:
            context.load_verify_locations(files.client_ca)
        except (ssl.SSLError, OSError) as error:
            raise UnusableCertificate(f"client CA {files.client_ca} cannot be used: {error}") from error
    return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=client_ca)


def _read(what: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnusableCertificate(f"{what} {path} cannot be read: {error.strerror}") from error
