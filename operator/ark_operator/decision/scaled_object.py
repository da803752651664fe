"""The ScaledObject of an agent: what KEDA is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ark_api.agent import DEFAULT_TIME_ZONE, Autoscaling
from ark_api.names import APPLIED_HASH, DEFAULT_GROUP, DEFAULT_REDIS
from ark_api.trigger import SCALER_ADDRESS, TriggerMetadata
from ark_kube.objects import Object
from ark_operator.decision.agent import Agent
from ark_operator.decision.deployment import hash_of, labels
from ark_operator.decision.options import Options
from ark_sizing.setting import FIXED

PAUSED = "autoscaling.keda.sh/paused"
"""Annotation with which KEDA holds whatever number is set, and deletes its HPA."""
_PAUSED_AT = "autoscaling.keda.sh/paused-replicas"
_PAUSED_OUT = "autoscaling.keda.sh/paused-scale-out"
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
UNTHROTTLED: Mapping[str, Any] = {
    "stabilizationWindowSeconds": 0,
    "policies": [{"type": "Pods", "value": 1000, "periodSeconds": 15}],
}
"""A scale-up rule that adds whatever is wanted at once; Kubernetes' default adds four Pods, or doubles, in 15 s."""
_PATIENCE_SECONDS = round(FIXED.patience_seconds)
"""How long less must be wanted before the pool is lowered (ADR 11); Kubernetes' default is 300 s."""
_BEHAVIOR: Mapping[str, Any] = {
    "scaleUp": UNTHROTTLED,
    "scaleDown": {"stabilizationWindowSeconds": _PATIENCE_SECONDS},
}


def build(agent: Agent, autoscaling: Autoscaling, options: Options, *, paused: bool) -> Object:
    """Return the ScaledObject as it should be.

    Args:
        agent: the agent.
        autoscaling: its block.
        options: the operator's.
        paused: whether KEDA must leave the number alone.
    """
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": agent.deployment_name},
        "minReplicaCount": autoscaling.min_replicas,
        "maxReplicaCount": autoscaling.max_replicas,
        "pollingInterval": options.polling_seconds,
        "cooldownPeriod": autoscaling.cooldown_seconds,
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {**_BEHAVIOR, **autoscaling.behavior}}},
        "triggers": [_trigger(agent, autoscaling, options), *map(_scheduled, autoscaling.schedule)],
    }
    # "false" is not said: the annotation's absence is what KEDA's own tools look for.
    pause = {PAUSED: "true"} if paused else {}
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {
            "name": agent.name,
            "namespace": agent.namespace,
            "labels": labels(agent),
            "annotations": {APPLIED_HASH: hash_of([spec, pause]), **pause},
            "ownerReferences": [agent.owner_reference],
        },
        "spec": spec,
    }


def blocks_scale_out(scaled: Object) -> str | None:
    """Return the annotation with which somebody keeps KEDA from adding replicas; None where nobody does.

    As KEDA reads them (apis/keda/v1alpha1/scaledobject_types.go, v2.21.0): a value that is no false one is a true one.
    """
    annotations = scaled["metadata"].get("annotations") or {}
    if _PAUSED_AT in annotations:
        return _PAUSED_AT
    return next((name for name in (PAUSED, _PAUSED_OUT) if annotations.get(name, "false") not in _FALSE), None)


def _trigger(agent: Agent, autoscaling: Autoscaling, options: Options) -> Object:
    """Return the trigger that names the scaler; all that the scaler must know is in its metadata."""
    queue, limits = agent.queue, agent.limits
    is_own = queue.namespace is not None
    metadata = TriggerMetadata(
        queue=queue.name if is_own else None,
        stream=None if is_own else queue.stream,
        group=None if queue.group == DEFAULT_GROUP else queue.group,
        redis=None if agent.redis == DEFAULT_REDIS else agent.redis,
        tasks_per_replica=autoscaling.tasks_per_replica,
        target_wait_seconds=autoscaling.target_wait_seconds,
        max_daily_tokens=limits.daily_tokens,
        max_tokens_per_call=limits.tokens_per_call,
    )
    trigger: Object = {
        "type": "external-push",
        "metadata": {SCALER_ADDRESS: options.scaler_address, **metadata.to_metadata()},
    }
    if options.scaler_authentication:
        trigger["authenticationRef"] = {
            "name": options.scaler_authentication,
            "kind": options.scaler_authentication_kind,
        }
    return trigger


def _scheduled(time: Mapping[str, Any]) -> Object:
    """Return KEDA's own trigger for a time at which at least so many replicas run."""
    metadata = {
        "timezone": time.get("timeZone", DEFAULT_TIME_ZONE),
        "start": time["start"],
        "end": time["end"],
        "desiredReplicas": str(time["minReplicas"]),
    }
    return {"type": "cron", "metadata": metadata}
