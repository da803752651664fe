"""The operator's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from ark_api.tenancy import Tenancy, parse_rules
from ark_kube.election import Terms
from ark_operator.decision import deployment, template
from ark_operator.decision.options import Options
from ark_process.certificate import CertificateFiles
from ark_process.metrics_access import MetricsAccess
from ark_process.settings import ProgramSettings, checked_with
from ark_taskqueue import parse_address, parse_connections


def _parse_if_given(text: str) -> dict[str, str]:
    return parse_connections(text) if text else {}


class OperatorSettings(ProgramSettings):
    """Turns ArkAgents into Deployments and ScaledObjects."""

    model_config = SettingsConfigDict(cli_prog_name="ark-operator", env_prefix="ARK_OPERATOR_")

    image: str = Field(min_length=1, description="Image of the agents' container; has the program ark-agent")
    kubeconfig: Path | None = Field(
        None, description="Kubeconfig file; unset: the one in KUBECONFIG, else the Pod's ServiceAccount"
    )
    watch_namespace: str | None = Field(
        None, min_length=1, description="The only namespace to watch; unset: all of them"
    )
    namespace: str = Field("ark-system", min_length=1, description="Namespace of the operator's own Lease")
    identity: str = Field("", description="Name of this replica in the Lease; empty: the host's name and a random part")
    lease_name: str = Field("ark-operator", min_length=1, description="Name of the Lease")
    lease_seconds: float = Field(15, gt=0, description="How long other replicas wait for the leader's renewal")
    lease_renew_seconds: float = Field(10, gt=0, description="How long the leader goes on without a renewal")
    lease_retry_seconds: float = Field(2, gt=0, description="Time between two attempts to take or renew the Lease")
    scaler_address: str = Field(
        "ark-scaler.ark-system:6000", min_length=1, description="host:port that KEDA reaches the scaler by"
    )
    scaler_authentication: str | None = Field(
        None, description="Name of the object with KEDA's client certificate for the scaler; unset: no TLS"
    )
    scaler_authentication_kind: Literal["ClusterTriggerAuthentication", "TriggerAuthentication"] = Field(
        "ClusterTriggerAuthentication", description="Its kind; a TriggerAuthentication lies in the agents' namespace"
    )
    redis: Annotated[SecretStr, checked_with(parse_connections)] = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis connections, separated by spaces: URL for the one named 'default', NAME=URL for those "
        "that agents name with spec.queue.redis",
    )
    agent_redis: Annotated[SecretStr, checked_with(_parse_if_given)] = Field(
        SecretStr(""),
        description="Redis URLs as agents reach them (AGENT_REDIS); empty: as --redis, except URLs with a password, "
        "which belong in the agents' Secret",
    )
    agent_secret: str = Field(
        "arkonis-api-keys",
        description="Secret in an agent's namespace whose keys become its variables (AGENT_REDIS, ANTHROPIC_API_KEY); "
        "need not be there; empty: none",
    )
    agent_template: Annotated[str, checked_with(template.parse)] = Field(
        "",
        description="Pod template of all agents, JSON, below each agent's spec.template; for requests, tolerations, a "
        "user and so on. Empty: none",
    )
    allow_streams: Annotated[str, checked_with(parse_rules)] = Field(
        "",
        description="Queues that a namespace may read besides its own, as for the scaler: NAMESPACE=STREAM, separated "
        "by spaces",
    )
    keda_namespace: str = Field("keda", description="Namespace of KEDA's operator")
    keda_lease: str = Field("operator.keda.sh", description="Name of its Lease, which tells whether it runs")
    keda_silent_seconds: float = Field(
        45, gt=0, description="How long that Lease may go without a renewal before KEDA counts as down"
    )
    polling_seconds: int = Field(
        37,
        ge=1,
        description="How often KEDA polls the scaler. Avoid multiples and divisors of 15: a poll that coincides with "
        "the HPA's sync while the scaler fails counts as an empty queue (KEDA 2.20, 2.21)",
    )
    workers: int = Field(20, ge=1, le=1000, description="Agents that are reconciled at a time")
    resync_seconds: float = Field(600, gt=0, description="How often every agent is reconciled even if nothing changed")
    api_qps: float = Field(500, gt=0, description="Calls to the API server per second, on average")
    api_burst: int = Field(1000, ge=1, description="Burst of calls to the API server")
    burst_seconds: float = Field(1, gt=0, description="How often the queues of running, autoscaled pools are read")
    status_seconds: float = Field(5, gt=0, description="How often all queues are read, for the statuses")
    usage_seconds: float = Field(
        1, gt=0, description="How often token usage is read for budgeted pools, running or stopped by their budget"
    )
    sizing_seconds: float = Field(
        300, gt=0, description="Time between two looks at what sizing a pool's queue asks for, at least"
    )
    stuck_seconds: float = Field(
        300,
        gt=0,
        description="Silence of the API server after which /healthz asks for a restart; bookmarks come by the minute",
    )
    drain_seconds: float = Field(
        3,
        ge=0,
        description="How long the operator keeps serving HTTP after SIGTERM, until Services send it no new connection; "
        "only once a probe has found /readyz good. It stops leading at once. A second signal ends it. "
        "Keep it well below the Pod's terminationGracePeriodSeconds",
    )
    host: str = Field("", description="Address that the HTTP server listens on; empty: all of them, IPv4 and IPv6")
    http_port: int = Field(
        8080, ge=0, le=65535, description="TCP port of /metrics, /healthz and /readyz; 0 takes a free one"
    )
    tls_cert: Path | None = Field(
        None, description="PEM file with the HTTP server's certificate; reloaded when it changes. Unset: no TLS"
    )
    tls_key: Path | None = Field(None, description="PEM file with the certificate's private key")
    metrics_api_server: str | None = Field(
        None,
        pattern="^https://",
        description="URL of the API server that says who may see /metrics: callers whose bearer token may GET the path "
        "/metrics. Unset: everybody. Needs --tls-cert",
    )
    metrics_api_server_ca: Path | None = Field(None, description="PEM file with the CA of the API server's certificate")

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key go together: one of them is missing")
        if self.metrics_api_server and not self.tls_cert:
            raise ValueError("--metrics-api-server needs --tls-cert and --tls-key: callers send a token")
        secret = [name for name, url in self.agents_connections.items() if parse_address(url).has_password]
        if self.agent_redis.get_secret_value() and secret:
            raise ValueError(
                f"--agent-redis has a password for {', '.join(secret)}, and whoever may read Deployments would see "
                "it: put the URL into the agents' Secret as AGENT_REDIS, see --agent-secret"
            )
        try:
            deployment.check(self.options)
        except template.InvalidTemplate as error:
            raise ValueError(str(error)) from None
        try:
            _ = self.terms
        except ValueError as error:
            raise ValueError(f"--lease-retry-seconds, --lease-renew-seconds, --lease-seconds: {error}") from None
        return self

    @property
    def terms(self) -> Terms:
        """Times of the election."""
        return Terms(self.lease_seconds, self.lease_renew_seconds, self.lease_retry_seconds)

    @property
    def certificate(self) -> CertificateFiles | None:
        """Of the HTTP server."""
        if self.tls_cert is None or self.tls_key is None:
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
    def agents_connections(self) -> dict[str, str]:
        """Redis URLs as agents reach them, by connection name."""
        given = self.agent_redis.get_secret_value()
        return parse_connections(given) if given else self.connections

    @property
    def tenancy(self) -> Tenancy:
        """Who may read which queue."""
        return Tenancy.of(parse_rules(self.allow_streams))

    @property
    def options(self) -> Options:
        """What the settings say about agents' children."""
        urls = {name: url for name, url in self.agents_connections.items() if not parse_address(url).has_password}
        return Options(
            image=self.image,
            scaler_address=self.scaler_address,
            connections=frozenset(self.connections),
            agent_redis=urls,
            agent_secret=self.agent_secret or None,
            agent_template=template.parse(self.agent_template),
            scaler_authentication=self.scaler_authentication,
            scaler_authentication_kind=self.scaler_authentication_kind,
            identity=f"{self.namespace}/{self.lease_name}",
            polling_seconds=self.polling_seconds,
        )
