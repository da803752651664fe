"""The scaler's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from ark_api.tenancy import StreamRule, parse_rules
from ark_process.certificate import CertificateFiles
from ark_process.metrics_access import MetricsAccess
from ark_process.settings import ProgramSettings, checked_with
from ark_taskqueue import parse_connections

_DEFAULT_PORT = 6000


def _without_service_link(value: object) -> object:
    """Take the variable that Kubernetes sets for a Service named ``ark-scaler`` as if it were not there.

    In every Pod of its namespace ARK_SCALER_PORT is then ``tcp://10.96.0.7:6000``, which is not meant for this setting.
    """
    return _DEFAULT_PORT if str(value).startswith("tcp://") else value


class ScalerSettings(ProgramSettings):
    """KEDA external scaler for agents' task queues in Redis."""

    model_config = SettingsConfigDict(cli_prog_name="ark-scaler", env_prefix="ARK_SCALER_")

    host: str = Field("", description="Address that the gRPC and HTTP servers listen on; empty: all, IPv4 and IPv6")
    port: Annotated[int, BeforeValidator(_without_service_link)] = Field(
        _DEFAULT_PORT, ge=0, le=65535, description="TCP port of the gRPC server; 0 takes a free one"
    )
    http_port: int = Field(
        8080, ge=0, le=65535, description="TCP port of /metrics, /healthz and /readyz; 0 takes a free one"
    )
    redis: Annotated[SecretStr, checked_with(parse_connections)] = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis connections, separated by spaces: URL for the one named 'default', NAME=URL for those "
        "that triggers name with 'redis'. Schemes: redis, rediss, unix, redis+sentinel, redis+cluster and so on",
    )
    allow_streams: Annotated[str, checked_with(parse_rules)] = Field(
        "",
        description="Queues that a namespace may read besides its own, separated by spaces: NAMESPACE=STREAM, both "
        "with * as a wildcard, for example 'team-a=agent-tasks'",
    )
    redis_timeout_seconds: float = Field(
        0.5, gt=0, le=10, description="The most that any call waits for Redis; KEDA itself waits for ever"
    )
    hold_seconds: float = Field(
        60, ge=0, description="How long the last good value is returned while Redis fails; then calls fail"
    )
    tls_cert: Path | None = Field(
        None, description="PEM file with the server's certificate; reloaded when it changes. Unset: no TLS"
    )
    tls_key: Path | None = Field(None, description="PEM file with the certificate's private key")
    tls_client_ca: Path | None = Field(
        None, description="PEM file with the CA of clients' certificates; a client without one is refused (mTLS)"
    )
    tls_client_names: str = Field(
        "keda-operator",
        description="Allowed client names, in the certificate as a DNS name or common name, separated by "
        "spaces; needs --tls-client-ca. Empty: any certificate of that CA will do",
    )
    http_tls: bool = Field(
        False, description="Whether /metrics, /healthz and /readyz are HTTPS, with the certificate of --tls-cert"
    )
    metrics_api_server: str | None = Field(
        None,
        pattern="^https://",
        description="URL of the API server that says who may see /metrics: callers whose bearer token may GET the path "
        "/metrics. Unset: everybody. Needs --http-tls",
    )
    metrics_api_server_ca: Path | None = Field(None, description="PEM file with the CA of the API server's certificate")
    keepalive_seconds: float = Field(
        30,
        ge=1,
        le=86_400,
        description="Time between HTTP/2 pings to clients; a dead one is noticed a third of it later",
    )
    drain_seconds: float = Field(
        3,
        ge=0,
        description="How long the scaler keeps serving after SIGTERM, until Services send it no new connections; only "
        "once a probe, by HTTP or gRPC, has found it ready. A second signal ends it. Together with --shutdown-seconds, "
        "keep it below the Pod's terminationGracePeriodSeconds",
    )
    shutdown_seconds: float = Field(
        5, ge=0, description="How long calls that are under way may take to end when the scaler stops"
    )

    @model_validator(mode="after")
    def _certificate_is_complete(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key go together: one of them is missing")
        if self.tls_client_ca and not self.tls_cert:
            raise ValueError("--tls-client-ca needs --tls-cert and --tls-key")
        if self.http_tls and not self.tls_cert:
            raise ValueError("--http-tls needs --tls-cert and --tls-key")
        if self.metrics_api_server and not self.http_tls:
            raise ValueError("--metrics-api-server needs --http-tls: callers send a token")
        return self

    @property
    def client_names(self) -> frozenset[str]:
        """Who may call; empty for everybody who has a certificate, or needs none."""
        return frozenset(self.tls_client_names.split()) if self.tls_client_ca else frozenset()

    @property
    def http_certificate(self) -> CertificateFiles | None:
        """Of the HTTP server; None for plain HTTP."""
        if not self.http_tls or self.tls_cert is None or self.tls_key is None:
            return None
        return CertificateFiles(self.tls_cert, self.tls_key)

    @property
    def metrics_access(self) -> MetricsAccess | None:
        """Who may see /metrics; None for everybody."""
        if self.metrics_api_server is None:
            return None
        return MetricsAccess(self.metrics_api_server, self.metrics_api_server_ca)

    @property
    def connections(self) -> dict[str, str]:
        """Redis URLs by connection name."""
        return parse_connections(self.redis.get_secret_value())

    @property
    def rules(self) -> tuple[StreamRule, ...]:
        """Rules for queues that are not a namespace's own."""
        return parse_rules(self.allow_streams)
