"""An ArkAgent: names for its fields, and the defaults of those that are absent.

The resource's definition (``charts/ark/files/arkagents.yaml``) fills defaults in at admission; they stand here once
more for objects that were stored before a field had one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ark_api.names import API_VERSION, DEFAULT_GROUP, DEFAULT_REDIS, KIND, LAST_APPLIED, MIRROR, PIN_END, SEEN_APPLY
from ark_api.pin import PinEnd, mirrored_number, owns_replicas
from ark_api.trigger import DEFAULT_TOKENS_PER_CALL

_TARGET_PERCENT = 70
ADAPTIVE, FIXED = "Adaptive", "Fixed"
"""Who says how many slots a pool keeps free, and for how long: the operator, by what the queue does; or the spec."""
DEFAULT_TIME_ZONE = "Etc/UTC"
"""Of a schedule."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one agent may take on and spend: ``spec.limits``."""

    concurrent_tasks: int = 5
    tokens_per_call: int = DEFAULT_TOKENS_PER_CALL
    daily_tokens: int | None = None
    """Budget of any 24 hours; None for none."""
    timeout_seconds: int = 120
    retries: int = 3


@dataclass(frozen=True, slots=True)
class Autoscaling:
    """How the pool follows the queue: ``spec.autoscaling``."""

    tasks_per_replica: int
    min_replicas: int = 0
    max_replicas: int = 10
    target_wait_seconds: float | None = None
    cooldown_seconds: int = 300
    burst: bool = True
    """Whether the operator raises the pool at once."""
    sizing: str = ADAPTIVE
    """`ADAPTIVE` or `FIXED`."""
    pin_seconds: int | None = None
    """How long a person's number holds; None for until it is taken back."""
    behavior: Mapping[str, Any] = field(default_factory=dict)
    schedule: Sequence[Mapping[str, Any]] = ()
    """When at least so many replicas run: ``start``, ``end``, ``timeZone`` and ``minReplicas`` of each."""


LIMITS: Mapping[str, str] = {
    "maxConcurrentTasks": "concurrent_tasks",
    "maxTokensPerCall": "tokens_per_call",
    "maxDailyTokens": "daily_tokens",
    "timeoutSeconds": "timeout_seconds",
    "maxRetries": "retries",
}
"""Fields of `Limits` by the names that the resource has for them."""
AUTOSCALING: Mapping[str, str] = {
    "tasksPerReplica": "tasks_per_replica",
    "minReplicas": "min_replicas",
    "maxReplicas": "max_replicas",
    "targetWaitSeconds": "target_wait_seconds",
    "cooldownSeconds": "cooldown_seconds",
    "burst": "burst",
    "sizing": "sizing",
    "pinSeconds": "pin_seconds",
    "behavior": "behavior",
    "schedule": "schedule",
}
"""Fields of `Autoscaling` by the names that the resource has for them."""


class Agent:
    """One ArkAgent.

    Args:
        item: the object as the API server has it; not changed.
    """

    def __init__(self, item: Mapping[str, Any]) -> None:
        self.object = item
        self.spec: Mapping[str, Any] = item.get("spec") or {}
        self.status: Mapping[str, Any] = item.get("status") or {}

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return str(self.object["metadata"]["namespace"])

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.object["metadata"]["name"])

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.namespace, self.name

    @property
    def uid(self) -> str:
        """Its identity, which a later agent of the same name does not have."""
        return str(self.object["metadata"]["uid"])

    @property
    def generation(self) -> int:
        """Number of the spec."""
        return int(self.object["metadata"].get("generation", 0))

    @property
    def is_going(self) -> bool:
        """Whether it is being deleted."""
        return "deletionTimestamp" in self.object["metadata"]

    @property
    def deployment_name(self) -> str:
        """Name of its Deployment."""
        return f"{self.name}-agent"

    @property
    def replicas(self) -> int | None:
        """``spec.replicas``, whoever wrote it."""
        value = self.spec.get("replicas")
        return None if value is None else int(value)

    @property
    def annotations(self) -> Mapping[str, str]:
        """Its annotations."""
        return self.object["metadata"].get("annotations") or {}

    @property
    def mirrored(self) -> int | None:
        """The number that the operator wrote into ``spec.replicas`` last; None where it wrote none."""
        return mirrored_number(self.annotations.get(MIRROR, ""))

    @property
    def persons_number(self) -> int | None:
        """The number that a person wants (contract C4); None where ``spec.replicas`` is absent or the operator's.

        A person may write the very number that the operator has mirrored (ADR 12). Then the number does not tell, but
        who owns the field, and what kubectl has applied last, may.
        """
        if self.replicas is None or (self.replicas == self.mirrored and not self._is_applied):
            return None
        return self.replicas

    @property
    def _is_applied(self) -> bool:
        """Whether a manifest says the number that is there: by server-side apply, or by kubectl's own since then."""
        seen = self.annotations.get(SEEN_APPLY)  # absent where an earlier version of the operator wrote the mirror
        manifest, _, owners = (seen or "").partition(".")
        if self._owners and self._owners != owners:
            return True
        return self.applied_number == self.replicas and seen is not None and self.applied_digest != manifest

    @property
    def _owners(self) -> str:
        """What tells one server-side apply of ``spec.replicas`` from another; empty where it is nobody's."""
        entries = self.object["metadata"].get("managedFields") or []
        owners = sorted((str(e.get("manager")), str(e.get("time"))) for e in entries if owns_replicas(e))
        return hashlib.sha256(json.dumps(owners).encode()).hexdigest()[:16] if owners else ""

    @property
    def seen_apply(self) -> str:
        """What `SEEN_APPLY` is to say when the operator writes its number now: these manifests are known.

        One of server-side apply stays the owner of a number that is the operator's too, as when a pin ends.
        """
        return f"{self.applied_digest}.{self._owners}" if self._owners else self.applied_digest

    @cached_property
    def applied_number(self) -> int | None:
        """``spec.replicas`` of the manifest that kubectl applied last; None where that leaves it out."""
        try:
            number = json.loads(self.annotations.get(LAST_APPLIED, "{}"))["spec"]["replicas"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        return number if isinstance(number, int) and not isinstance(number, bool) else None

    @property
    def applied_digest(self) -> str:
        """What tells one manifest that kubectl applied from another."""
        return hashlib.sha256(self.annotations.get(LAST_APPLIED, "").encode()).hexdigest()[:16]

    @property
    def pin_end(self) -> PinEnd | None:
        """When a person's number ends; None where nothing that can be read says so."""
        return PinEnd.parse(self.annotations.get(PIN_END, ""))

    @cached_property
    def limits(self) -> Limits:
        """``spec.limits``."""
        return Limits(**_fields(self.spec.get("limits") or {}, LIMITS))

    @cached_property
    def autoscaling(self) -> Autoscaling | None:
        """``spec.autoscaling``; None where the pool's size is fixed."""
        given = self.spec.get("autoscaling")
        if given is None:
            return None
        fields = _fields(given, AUTOSCALING)
        if not fields.get("tasks_per_replica"):
            wait = given.get("targetWaitSeconds")
            fields["tasks_per_replica"] = default_tasks_per_replica(self.limits.concurrent_tasks, wait)
        return Autoscaling(**fields)

    @property
    def fixed_by(self) -> str | None:
        """The field of ``spec.autoscaling`` for which the operator chooses no sizing; None where it does.

        What a person sets stays. And what is chosen is chosen for a pool that the operator raises at once.
        """
        autoscaling = self.autoscaling
        if autoscaling is None or autoscaling.sizing == FIXED:
            return "sizing"
        given = self.spec["autoscaling"]
        return next((name for name in ("tasksPerReplica", "behavior") if given.get(name)), None) or (
            None if autoscaling.burst else "burst"
        )

    @property
    def redis(self) -> str:
        """Name of the Redis connection."""
        return str(self._queue.get("redis", DEFAULT_REDIS))

    @property
    def group(self) -> str:
        """Consumer group of its workers."""
        return str(self._queue.get("group", DEFAULT_GROUP))

    @property
    def stream(self) -> str | None:
        """Key of the stream that its tasks come from; None for the one that is named after the agent."""
        given = self._queue.get("stream")
        return None if given is None else str(given)

    @property
    def _queue(self) -> Mapping[str, Any]:
        return self.spec.get("queue") or {}

    @property
    def start_seconds(self) -> float | None:
        """How long its Pods take to start, as the operator has measured it; None where it has not."""
        seconds = (self.status.get("sizing") or {}).get("startSeconds")
        return None if seconds is None else float(seconds)

    @property
    def owner_reference(self) -> dict[str, Any]:
        """What makes a child go with this agent."""
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
        }

    def owns(self, item: Mapping[str, Any]) -> bool:
        """Return whether an object is this agent's child."""
        owners = item["metadata"].get("ownerReferences") or []
        return any(owner.get("uid") == self.uid and owner.get("controller") for owner in owners)


def _fields(given: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return what is given of a block, by the names of a dataclass."""
    return {names[name]: value for name, value in given.items() if name in names and value is not None}


def default_tasks_per_replica(slots: int, target_wait_seconds: float | None) -> int:
    """Return how many tasks one replica should have where nobody says so (ADR 11).

    Three slots in ten are left free, so that the next tasks need not wait for a Pod's start; Knative Serving has the
    same default (container-concurrency-target-percentage). Who sets a waiting time lets tasks wait, and needs none.
    """
    return slots if target_wait_seconds is not None else max(1, slots * _TARGET_PERCENT // 100)
