"""The ScaledObject of an agent: what KEDA is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ark_api.agent import DEFAULT_TIME_ZONE, Autoscaling
from ark_api.names import APPLIED_HASH, DEFAULT_GROUP, DEFAULT_REDIS
from ark_api.trigger import DEFAULT_BASE_SECONDS, SCALER_ADDRESS, TriggerMetadata
from ark_kube.objects import Object
from ark_operator.decision.agent import Agent
from ark_operator.decision.deployment import hash_of, labels
from ark_operator.decision.options import Options
from ark_sizing.in_force import setting_of
from ark_sizing.setting import Setting

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


def build(agent: Agent, autoscaling: Autoscaling, options: Options, *, paused: bool) -> Object:
    """Return the ScaledObject as it should be.

    Args:
        agent: the agent, with the sizing that its status has.
        autoscaling: its block.
        options: the operator's.
        paused: whether KEDA must leave the number alone.
    """
    setting = setting_of(agent)
    behavior = {
        "scaleUp": UNTHROTTLED,
        "scaleDown": {"stabilizationWindowSeconds": round(setting.patience_seconds)},
        **autoscaling.behavior,
    }
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": agent.deployment_name},
        "minReplicaCount": autoscaling.min_replicas,
        "maxReplicaCount": autoscaling.max_replicas,
        "pollingInterval": options.polling_seconds,
        "cooldownPeriod": autoscaling.cooldown_seconds,
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}},
        "triggers": [_trigger(agent, setting, options), *map(_scheduled, autoscaling.schedule)],
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


def _trigger(agent: Agent, setting: Setting, options: Options) -> Object:
    """Return the trigger that names the scaler; all that the scaler must know is in its metadata."""
    queue, limits = agent.queue, agent.limits
    is_own = queue.namespace is not None
    metadata = TriggerMetadata(
        queue=queue.name if is_own else None,
        stream=None if is_own else queue.stream,
        group=None if queue.group == DEFAULT_GROUP else queue.group,
        redis=None if agent.redis == DEFAULT_REDIS else agent.redis,
        tasks_per_replica=setting.tasks_per_replica or limits.concurrent_tasks,
        target_wait_seconds=setting.target_wait_seconds,
        reserve=setting.reserve,
        base_quantile=None if setting.base is None else setting.base.quantile,
        base_seconds=DEFAULT_BASE_SECONDS if setting.base is None else setting.base.window_seconds,
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
