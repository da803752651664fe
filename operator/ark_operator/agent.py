"""An ArkAgent as the operator reads it: names for the fields, and the defaults of those that are absent.

The resource's definition (``charts/ark/files/arkagents.yaml``) fills defaults in at admission; they stand here once
more for objects that were stored before a field had one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from ark_kube.objects import Key, Object
from ark_taskqueue import DEFAULT_GROUP, InvalidQueueName, QueueKeys, Tenancy

KIND = "ArkAgent"
API_VERSION = "arkonis.dev/v1alpha1"
MIRROR = "arkonis.dev/autoscaled-replicas"
"""Annotation with the number that the operator wrote into ``spec.replicas``; any other number there is a person's."""
SEEN_APPLY = "arkonis.dev/seen-apply"
"""Annotation with a hash of kubectl's last-applied configuration at the time of the mirror, and of who had applied the
number by server-side apply: what was applied before the operator's number was written is no new word of a person's."""
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
FIELD_MANAGER = "ark-operator"
PIN_END = "arkonis.dev/pin"
"""Annotation with a person's number and when it ends, ``5 until 2026-11-25T12:00:00Z``; set by `kubectl ark pin`.

It says the number, so that it does not end another one that `kubectl scale` sets, which knows no annotation.
"""
_PIN_END = re.compile(r"(\d{1,9}) until (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)", re.ASCII)
_TARGET_PERCENT = 70
_LONGEST_NUMBER = 9
"""Digits; whoever may write an agent may write anything there."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one agent may take on and spend."""

    concurrent_tasks: int
    tokens_per_call: int
    daily_tokens: int | None
    """Budget of any 24 hours; None for none."""
    timeout_seconds: int
    retries: int


@dataclass(frozen=True, slots=True)
class Autoscaling:
    """How the pool follows the queue."""

    min_replicas: int
    max_replicas: int
    tasks_per_replica: int
    target_wait_seconds: float | None
    cooldown_seconds: int
    burst: bool
    """Whether the operator raises the pool at once."""
    pin_seconds: int | None
    """How long a person's number holds; None for until it is taken back."""
    behavior: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PinEnd:
    """When one number of a person's ends."""

    replicas: int
    until: datetime


class Agent:
    """One ArkAgent."""

    def __init__(self, item: Object) -> None:
        """
        Args:
            item: the object as the API server has it; not changed.
        """
        self.object = item
        self._spec: Mapping[str, Any] = item.get("spec") or {}

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return str(self.object["metadata"]["namespace"])

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.object["metadata"]["name"])

    @property
    def key(self) -> Key:
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
    def status(self) -> Mapping[str, Any]:
        """What was reported last."""
        return self.object.get("status") or {}

    @property
    def spec(self) -> Mapping[str, Any]:
        """What is wanted."""
        return self._spec

    @property
    def deployment_name(self) -> str:
        """Name of its Deployment."""
        return f"{self.name}-agent"

    @property
    def replicas(self) -> int | None:
        """``spec.replicas``, whoever wrote it."""
        value = self._spec.get("replicas")
        return None if value is None else int(value)

    @property
    def annotations(self) -> Mapping[str, str]:
        """Its annotations."""
        return self.object["metadata"].get("annotations") or {}

    @property
    def mirrored(self) -> int | None:
        """The number that the operator wrote into ``spec.replicas`` last; None where it wrote none."""
        text = self.annotations.get(MIRROR, "")
        return int(text) if text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER else None

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
        """What the annotation `PIN_END` says; None where there is none, or none that can be read."""
        match = _PIN_END.fullmatch(self.annotations.get(PIN_END, ""))
        if match is None:
            return None
        try:
            return PinEnd(int(match[1]), datetime.strptime(match[2], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC))
        except ValueError:
            return None  # a 13th month

    @cached_property
    def limits(self) -> Limits:
        """``spec.limits``."""
        given = self._spec.get("limits") or {}
        return Limits(
            concurrent_tasks=given.get("maxConcurrentTasks", 5),
            tokens_per_call=given.get("maxTokensPerCall", 8000),
            daily_tokens=given.get("maxDailyTokens"),
            timeout_seconds=given.get("timeoutSeconds", 120),
            retries=given.get("maxRetries", 3),
        )

    @cached_property
    def autoscaling(self) -> Autoscaling | None:
        """``spec.autoscaling``; None where the pool's size is fixed."""
        given = self._spec.get("autoscaling")
        if given is None:
            return None
        target_wait = given.get("targetWaitSeconds")
        return Autoscaling(
            min_replicas=given.get("minReplicas", 0),
            max_replicas=given.get("maxReplicas", 10),
            tasks_per_replica=given.get("tasksPerReplica") or _tasks_per_replica(self.limits, target_wait),
            target_wait_seconds=target_wait,
            cooldown_seconds=given.get("cooldownSeconds", 300),
            burst=given.get("burst", True),
            pin_seconds=given.get("pinSeconds"),
            behavior=given.get("behavior") or {},
        )

    @property
    def redis(self) -> str:
        """Name of the Redis connection."""
        return str((self._spec.get("queue") or {}).get("redis", "default"))

    @cached_property
    def queue(self) -> QueueKeys:
        """The queue that its tasks come from.

        Raises:
            InvalidQueueName: ``spec.queue`` has no possible stream or group.
        """
        given = self._spec.get("queue") or {}
        group = given.get("group", DEFAULT_GROUP)
        if "stream" in given:
            return QueueKeys.for_stream(given["stream"], group)
        return QueueKeys.for_agent(self.namespace, self.name, group)

    def queue_within(self, tenancy: Tenancy) -> QueueKeys | None:
        """Answer the queue where it is one and may be read; why it may not is the decision's to say."""
        try:
            queue = self.queue
        except InvalidQueueName:
            return None
        return queue if tenancy.allows(self.namespace, queue) else None

    @property
    def owner_reference(self) -> Object:
        """What makes a child go with this agent."""
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
        }

    def owns(self, item: Object) -> bool:
        """Whether an object is this agent's child."""
        owners = item["metadata"].get("ownerReferences") or []
        return any(owner.get("uid") == self.uid and owner.get("controller") for owner in owners)


def owns_replicas(entry: Object) -> bool:
    """Whether an entry of ``managedFields`` says that somebody's manifest has ``spec.replicas`` as it is."""
    fields = ((entry.get("fieldsV1") or {}).get("f:spec") or {}) if isinstance(entry, Mapping) else {}
    return entry.get("operation") == "Apply" and entry.get("manager") != FIELD_MANAGER and "f:replicas" in fields


def slim_agent(item: Object) -> Object:
    """Keep of who owns which field what decisions rest on."""
    metadata = item["metadata"]
    if "managedFields" not in metadata:
        return item
    kept = [
        {
            "manager": entry["manager"],
            "operation": "Apply",
            "time": entry.get("time"),
            "fieldsV1": {"f:spec": {"f:replicas": {}}},
        }
        for entry in metadata["managedFields"]
        if owns_replicas(entry)
    ]
    rest = {name: value for name, value in metadata.items() if name != "managedFields"}
    return {**item, "metadata": {**rest, "managedFields": kept} if kept else rest}


def _tasks_per_replica(limits: Limits, target_wait_seconds: float | None) -> int:
    """Answer how many tasks one replica should have where nobody says so (ADR 11).

    Three slots in ten are left free, so that the next tasks need not wait for a Pod's start; Knative Serving has the
    same default (container-concurrency-target-percentage). Who sets a waiting time lets tasks wait, and needs none.
    """
    slots = limits.concurrent_tasks
    return slots if target_wait_seconds is not None else max(1, slots * _TARGET_PERCENT // 100)
