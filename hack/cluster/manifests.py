"""What is deployed on a cluster: Redis, the scaler, workers, ScaledObjects. Plain objects, for any kind of cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]

IMAGE, NEXT_IMAGE = "ark:e2e", "ark:e2e-next"
"""All of the project's programs, under two names; on a cluster with containers they must be there (Dockerfile)."""
REDIS_IMAGE = "valkey/valkey:9.1-alpine"
"""The chart's."""
REDIS_PORT = 6379
SCALER_PORT = 6000
SCALER_HTTP_PORT = 8080
SCALER = "ark-scaler"
REDIS = "redis"
_CERTIFICATES = "/certs"


def namespace(name: str) -> Object:
    """Return a Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def service(namespace: str, name: str, port: int) -> Object:
    """Return a Service with one port, which leads to the Pods labelled ``app: <name>``."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": name}, "ports": [{"port": port}]},
    }


def deployment(namespace: str, name: str, container: Object, *, replicas: int = 1, **pod: Any) -> Object:
    """Return a Deployment of one container, its Pods labelled ``app: <name>``.

    Args:
        namespace: where it is.
        name: its name.
        container: the container but for its name.
        replicas: its size.
        pod: further fields of the Pods' spec.
    """
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", **container}], "automountServiceAccountToken": False, **pod},
            },
        },
    }


def redis(namespace: str) -> list[Object]:
    """Return a Redis without persistence, and its Service."""
    container = {
        "image": REDIS_IMAGE,
        "command": ["valkey-server", "--port", str(REDIS_PORT)],
        "args": ["--protected-mode", "no", "--save", ""],
        "readinessProbe": {"tcpSocket": {"port": REDIS_PORT}, "periodSeconds": 1},
    }
    return [service(namespace, REDIS, REDIS_PORT), deployment(namespace, REDIS, container)]


def secret(namespace: str, name: str, data: Mapping[str, str]) -> Object:
    """Return a Secret."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": dict(data),
    }


def scaler(
    namespace: str, redis_url: str, *, tls_secret: str | None = None, settings: Mapping[str, str] | None = None
) -> list[Object]:
    """Return the scaler, and its Service.

    Args:
        namespace: where it is.
        redis_url: what its Pods reach Redis by.
        tls_secret: Secret with ``tls.crt``, ``tls.key`` and ``ca.crt`` for mTLS; no TLS where None.
        settings: further flags of ``ark-scaler``.
    """
    flags = {"redis": redis_url, **(settings or {})}
    container: Object = {
        "image": IMAGE,
        "command": ["ark-scaler"],
        "ports": [{"name": "grpc", "containerPort": SCALER_PORT}, {"name": "http", "containerPort": SCALER_HTTP_PORT}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 10},
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": "http"},
            "timeoutSeconds": 10,
            "initialDelaySeconds": 20,
        },
    }
    pod: Object = {}
    if tls_secret:
        flags |= {
            "tls-cert": f"{_CERTIFICATES}/tls.crt",
            "tls-key": f"{_CERTIFICATES}/tls.key",
            "tls-client-ca": f"{_CERTIFICATES}/ca.crt",
        }
        container["volumeMounts"] = [{"name": "certificates", "mountPath": _CERTIFICATES, "readOnly": True}]
        pod["volumes"] = [{"name": "certificates", "secret": {"secretName": tls_secret}}]
    container["args"] = [f"--{name}={value}" for name, value in flags.items()]
    return [scaler_service(namespace), deployment(namespace, SCALER, container, **pod)]


def scaler_service(namespace: str) -> Object:
    """Return the scaler's Service."""
    return service(namespace, SCALER, SCALER_PORT)


def workers(
    namespace: str,
    agent: str,
    redis_url: str,
    *,
    slots: int = 5,
    replicas: int = 0,
    grace_seconds: int = 25,
    queue: str | None = None,
) -> Object:
    """Return a pool of workers, named ``<agent>-agent``.

    Args:
        namespace: where it is.
        agent: the agent's name.
        redis_url: what its Pods reach Redis by.
        slots: tasks that one worker takes on at a time.
        replicas: its size at first.
        grace_seconds: how long running tasks may take to end when a worker is stopped.
        queue: its queue; ``<namespace>/<agent>`` where None.
    """
    container = {
        "image": IMAGE,
        "command": ["ark-agent"],
        "env": [
            {"name": "AGENT_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "AGENT_REDIS", "value": redis_url},
            {"name": "AGENT_QUEUE", "value": queue or f"{namespace}/{agent}"},
            {"name": "AGENT_MAX_CONCURRENT_TASKS", "value": str(slots)},
            {"name": "AGENT_GRACE_SECONDS", "value": str(grace_seconds)},
        ],
    }
    return deployment(
        namespace, f"{agent}-agent", container, replicas=replicas, terminationGracePeriodSeconds=grace_seconds + 15
    )


UNTHROTTLED = {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 1000, "periodSeconds": 15}]}
"""A scale-up rule that adds whatever is wanted at once; KEDA's default adds four Pods in 15 s."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """How a pool is scaled; times in seconds. The defaults but for the behaviour are KEDA's."""

    min_replicas: int = 0
    max_replicas: int = 20
    polling_seconds: int = 30
    cooldown_seconds: int = 300
    scale_up: Mapping[str, Any] | None = field(default_factory=lambda: UNTHROTTLED)
    """The HPA's rule; Kubernetes' default where None."""
    scale_down_seconds: int = 300
    """The HPA's stabilization window."""

    def spec(self, target: str, triggers: Sequence[Mapping[str, Any]]) -> Object:
        """Return the spec of a ScaledObject for a Deployment."""
        behavior: Object = {"scaleDown": {"stabilizationWindowSeconds": self.scale_down_seconds}}
        if self.scale_up is not None:
            behavior["scaleUp"] = dict(self.scale_up)
        return {
            "scaleTargetRef": {"name": target},
            "minReplicaCount": self.min_replicas,
            "maxReplicaCount": self.max_replicas,
            "pollingInterval": self.polling_seconds,
            "cooldownPeriod": self.cooldown_seconds,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}},
            "triggers": [dict(trigger) for trigger in triggers],
        }


def scaled_object(
    namespace: str, agent: str, triggers: Sequence[Mapping[str, Any]], scaling: Scaling | None = None
) -> Object:
    """Return the ScaledObject of a pool of `workers`."""
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": agent, "namespace": namespace},
        "spec": (scaling or Scaling()).spec(f"{agent}-agent", triggers),
    }


def ark_trigger(
    scaler_address: str, *, authentication: str | None = None, kind: str = "TriggerAuthentication", **metadata: str
) -> Object:
    """Return the trigger that names this project's scaler.

    Args:
        scaler_address: what KEDA reaches it by.
        authentication: name of the object with KEDA's credentials.
        kind: its kind, this or ClusterTriggerAuthentication.
        metadata: the rest of the trigger's metadata.
    """
    trigger: Object = {"type": "external-push", "metadata": {"scalerAddress": scaler_address, **metadata}}
    if authentication:
        trigger["authenticationRef"] = {"name": authentication, "kind": kind}
    return trigger


def redis_streams_trigger(redis_address: str, stream: str, group: str, **metadata: str) -> Object:
    """Return the trigger of KEDA's own redis-streams scaler."""
    return {
        "type": "redis-streams",
        "metadata": {"address": redis_address, "stream": stream, "consumerGroup": group, **metadata},
    }
