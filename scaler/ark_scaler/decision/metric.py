"""The numbers that KEDA gets, as pure functions of a queue's depth and the trigger."""

from __future__ import annotations

from collections.abc import Sequence

from ark_scaler.decision.trigger import Trigger
from ark_sizing.setting import quantile_of, with_reserve
from ark_taskqueue.tasks.demand_span import SPAN_SECONDS, DemandSpan
from ark_taskqueue.tasks.depth import Depth

METRIC_NAME = "ark-demand"
"""KEDA shows it as ``s<trigger index>-ark-demand``."""


def refused_name(message: str) -> str:
    """Return the name of a metric that stands for a refused trigger; the API server refuses it for its slash."""
    return f"refused: {message} / see the trigger's metadata"


def is_active(depth: Depth, trigger: Trigger, base: float = 0.0) -> bool:
    """Return whether the pool should run at all.

    Work in flight counts: a pool whose last task still runs must not be scaled to zero under it. Jobs are not scaled to
    zero, and whoever starts them wants to know of waiting tasks alone. What stays warm runs.
    """
    tasks = depth.waiting if trigger.metadata.waiting_only else depth.demand
    return tasks > trigger.metadata.activation_tasks or base > 0


def value(depth: Depth, trigger: Trigger, base: float = 0.0) -> float:
    """Return the demand in slots; KEDA divides it by the target, ``tasksPerReplica``, and rounds up.

    See `Depth.slots`, and `with_reserve` for the free ones.

    Args:
        depth: of the queue.
        trigger: what is asked for.
        base: slots that stay warm, see `base_slots`.
    """
    metadata = trigger.metadata
    slots = depth.slots(metadata.target_wait_seconds)
    return slots - depth.in_flight if metadata.waiting_only else with_reserve(max(slots, base), metadata.reserve)


def base_slots(spans: Sequence[DemandSpan], waiting_share: float, quantile: float) -> float:
    """Return the slots to keep warm: a quantile of what the tasks of each span asked for on average.

    Args:
        spans: of the base's window, those without tasks too.
        waiting_share: what part of a slot a waiting task asks for.
        quantile: above 0, and up to 1.
    """
    asked = [(span.busy_seconds + span.waiting_seconds * waiting_share) / SPAN_SECONDS for span in spans]
    return quantile_of(asked, quantile)
