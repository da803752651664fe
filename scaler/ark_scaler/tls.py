"""TLS for the gRPC server: gRPC asks for the present certificate at every handshake."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import grpc

from ark_process.certificate import CertificateFiles, Reloading, read_pem


def credentials(files: CertificateFiles) -> grpc.ServerCredentials:
    """Return the credentials of a server that uses the certificate in the files, also when they change.

    Raises:
        BadCertificate: a file cannot be used.
    """
    reloading = Reloading(files, _configuration)
    return grpc.dynamic_ssl_server_credentials(
        reloading.present,
        # Called from a thread of gRPC's. The stubs leave out that None keeps the present configuration.
        cast("Callable[[], grpc.ServerCertificateConfiguration]", reloading.changed),
        require_client_authentication=files.client_ca is not None,
    )


def _configuration(files: CertificateFiles) -> grpc.ServerCertificateConfiguration:
    # gRPC takes anything and fails at the first handshake, without saying why; OpenSSL says it now.
    files.context()
    client_ca = read_pem("client CA", files.client_ca) if files.client_ca else None
    pair = read_pem("private key", files.key), read_pem("certificate", files.certificate)
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=client_ca)
