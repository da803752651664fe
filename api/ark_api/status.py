"""What an ArkAgent's status says: who sets the pool's size, and in which condition it is."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

Truth = Literal["True", "False", "Unknown"]
"""A condition's status."""


class Mode(StrEnum):
    """Who sets the Deployment's replicas (contract C4)."""

    STATIC = "Static"
    """The operator, to ``spec.replicas``."""
    AUTO = "Auto"
    """KEDA and the HPA; the operator raises it on a burst."""
    PINNED = "Pinned"
    """The operator, to a person's number."""
    BUDGET = "Budget"
    """The operator, to 0."""


class ConditionType(StrEnum):
    """The conditions that an ArkAgent can have."""

    READY = "Ready"
    BUDGET_EXCEEDED = "BudgetExceeded"
    AUTOSCALING = "Autoscaling"
    OPERATOR_CONFLICT = "OperatorConflict"
    """That an operator writes on agents that another one looks after, and that one leaves alone for a while."""


class Reason(StrEnum):
    """Why a condition is as it is."""

    # Ready
    ALL_REPLICAS_READY = "AllReplicasReady"
    SCALED_TO_ZERO = "ScaledToZero"
    CREATING = "Creating"
    PROGRESSING = "Progressing"
    DEPLOYMENT_FAILING = "DeploymentFailing"
    DEPLOYMENT_REFUSED = "DeploymentRefused"
    INVALID_TEMPLATE = "InvalidTemplate"
    # Ready and Autoscaling
    NAME_TAKEN = "NameTaken"
    INVALID_QUEUE = "InvalidQueue"
    UNKNOWN_REDIS = "UnknownRedis"
    BUDGET_EXCEEDED = "BudgetExceeded"
    # BudgetExceeded
    DAILY_LIMIT_REACHED = "DailyLimitReached"
    WITHIN_LIMIT = "WithinLimit"
    USAGE_UNKNOWN = "UsageUnknown"
    # Autoscaling
    FOLLOWS_QUEUE = "FollowsQueue"
    PINNED = "Pinned"
    DISABLED = "Disabled"
    CONFLICT = "Conflict"
    KEDA_MISSING = "KedaMissing"
    KEDA_DOWN = "KedaDown"
    PENDING = "Pending"
    PAUSED_BY_HAND = "PausedByHand"
    SCALED_OBJECT_REFUSED = "ScaledObjectRefused"
    SCALED_OBJECT_NOT_READY = "ScaledObjectNotReady"
    # OperatorConflict
    ANOTHER_OPERATOR = "AnotherOperator"


class EventReason(StrEnum):
    """Why an event was posted."""

    DAILY_LIMIT_REACHED = "DailyLimitReached"
    BUDGET_RESTORED = "BudgetRestored"
    PINNED = "Pinned"
    UNPINNED = "Unpinned"
    SCALED_BURST = "ScaledBurst"
    SIZING_CHANGED = "SizingChanged"


def condition_of(status: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """Return a condition of a status, of whatever object; None where it has none."""
    return next((entry for entry in status.get("conditions") or [] if entry.get("type") == kind), None)
