"""The numbers that KEDA gets, as pure functions of a queue's depth and the trigger."""

from __future__ import annotations

from ark_scaler.decision.trigger import Trigger
from ark_sizing.setting import with_reserve
from ark_taskqueue.tasks.depth import Depth

METRIC_NAME = "ark-demand"
"""KEDA shows it as ``s<trigger index>-ark-demand``."""


def refused_name(message: str) -> str:
    """Return the name of a metric that stands for a refused trigger; the API server refuses it for its slash."""
    return f"refused: {message} / see the trigger's metadata"


def is_active(depth: Depth, trigger: Trigger) -> bool:
    """Return whether the pool should run at all.

    Work in flight counts: a pool whose last task still runs must not be scaled to zero under it. Jobs are not scaled to
    zero, and whoever starts them wants to know of waiting tasks alone.
    """
    return (depth.waiting if trigger.metadata.waiting_only else depth.demand) > trigger.metadata.activation_tasks


def value(depth: Depth, trigger: Trigger) -> float:
    """Return the demand in slots; KEDA divides it by the target, ``tasksPerReplica``, and rounds up.

    See `Depth.slots`, and `with_reserve` for the free ones.
    """
    metadata = trigger.metadata
    slots = depth.slots(metadata.target_wait_seconds)
    return slots - depth.in_flight if metadata.waiting_only else with_reserve(slots, metadata.reserve)
