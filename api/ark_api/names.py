"""Names that users see and programs agree on."""

from __future__ import annotations

KIND = "ArkAgent"
PLURAL = "arkagents"
API_GROUP = "arkonis.dev"
API_VERSION = f"{API_GROUP}/v1alpha1"

MIRROR = "arkonis.dev/autoscaled-replicas"
"""Annotation with the number that the operator wrote into ``spec.replicas``; any other number there is a person's."""
SEEN_APPLY = "arkonis.dev/seen-apply"
"""Annotation with a hash of kubectl's last-applied configuration at the time of the mirror, and of who had applied the
number by server-side apply: what was applied before the operator's number was written is no new word of a person's."""
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
PIN_END = "arkonis.dev/pin"
"""Annotation with a person's number and when it ends, ``5 until 2026-11-25T12:00:00Z``; set by `kubectl ark pin`.

It says the number, so that it does not end another one that `kubectl scale` sets, which knows no annotation.
"""
APPLIED_HASH = "arkonis.dev/applied-hash"
"""Annotation of a child with a hash of what was applied: a field that is not wanted any more shows in nothing else."""
OPERATOR = "arkonis.dev/operator"
"""Annotation with the identity of the operator that writes a child: another one leaves it, and its agent, alone."""
FIELD_MANAGER = "ark-operator"
"""Owner of the fields that the operator writes."""

DEFAULT_GROUP = "agent-workers"
"""The consumer group of an agent's workers."""
DEFAULT_REDIS = "default"
"""Name of the Redis connection of agents that name none."""
