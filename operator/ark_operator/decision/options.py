"""What the operator's settings say about the objects that it makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ark_api.names import DEFAULT_REDIS


@dataclass(frozen=True, slots=True)
class Options:
    """The same for all agents of one operator."""

    image: str
    """Image of the agents' container."""
    scaler_address: str
    """``host:port`` that KEDA reaches the scaler by."""
    connections: frozenset[str] = frozenset({DEFAULT_REDIS})
    """Names of the Redis connections that agents may name."""
    agent_redis: Mapping[str, str] = field(default_factory=dict)
    """URLs that agents reach Redis by, by the connection's name; none is set for a connection that is not here."""
    agent_secret: str | None = None
    """Secret in each agent's namespace whose keys become variables of the agents; it need not be there."""
    agent_template: Mapping[str, Any] = field(default_factory=dict)
    """Pod template of the platform: merged into the operator's own, below every agent's."""
    scaler_authentication: str | None = None
    """Name of the object that KEDA has its certificate for the scaler from; None: it needs none."""
    scaler_authentication_kind: str = "ClusterTriggerAuthentication"
    """Its kind: this, or a TriggerAuthentication in the agents' namespace."""
    identity: str = ""
    """This operator's, the same for all of its replicas; children carry it. Empty: none is written or looked at."""
    polling_seconds: int = 37
    """KEDA's pollingInterval."""
