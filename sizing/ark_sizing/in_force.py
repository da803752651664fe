"""The sizing that an agent's pool has: what its spec says, or what was chosen and stands in its status.

The status is where a choice is kept: the next leader, the scaler's trigger and people all go by it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ark_api.agent import ADAPTIVE, FIXED, Agent
from ark_api.trigger import LARGEST_RESERVE, LEAST_BASE_SECONDS, MOST_BASE_SECONDS
from ark_sizing.choice import Expected
from ark_sizing.setting import FIXED as SAFE
from ark_sizing.setting import Base, Setting
from ark_sizing.simulation import Pool

_KUBERNETES_PATIENCE_SECONDS = 300.0
"""Of a scaleDown rule that does not say it."""
_MOST_PATIENCE_SECONDS = 3600
"""That the HPA takes."""
_LONGEST_COOLDOWN_SECONDS = 3600
"""That is played, second by second; it is the same whatever the sizing."""


def setting_of(agent: Agent) -> Setting:
    """Return the setting that scales an autoscaled agent's pool now."""
    return chosen_setting(agent) or own_setting(agent)


def own_setting(agent: Agent) -> Setting:
    """Return the setting of an autoscaled agent's spec, and the defaults where it says nothing (ADR 11)."""
    autoscaling = agent.autoscaling
    assert autoscaling is not None
    return Setting(
        patience_seconds=_patience(autoscaling.behavior),
        tasks_per_replica=autoscaling.tasks_per_replica,
        target_wait_seconds=autoscaling.target_wait_seconds,
    )


def _patience(behavior: Mapping[str, Any]) -> float:
    """Return what a behavior says; nobody checks what is in one before the HPA does."""
    down = behavior.get("scaleDown")
    if down is None:
        return SAFE.patience_seconds
    seconds = down.get("stabilizationWindowSeconds") if isinstance(down, Mapping) else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return _KUBERNETES_PATIENCE_SECONDS
    return float(seconds)


def chosen_setting(agent: Agent) -> Setting | None:
    """Return the setting that was chosen for an agent; None where none was, or not for what the agent wants now.

    A status may be anybody's: one that has no sizing in it, or an impossible one, has none that was chosen.
    """
    known, autoscaling = agent.status.get("sizing") or {}, agent.autoscaling
    if agent.fixed_by is not None or autoscaling is None or known.get("mode") != ADAPTIVE or "reserve" not in known:
        return None
    if known.get("targetWaitSeconds") != autoscaling.target_wait_seconds:
        return None
    try:
        setting = _read(known)
    except (KeyError, TypeError, ValueError):
        return None
    return setting if _is_possible(setting) else None


def _read(known: Mapping[str, Any]) -> Setting:
    base = None
    if "baseQuantile" in known:
        base = Base(float(known["baseQuantile"]), int(known["baseSeconds"]))
    scaled_for = known.get("scaledForWaitSeconds")
    return Setting(
        float(known["reserve"]),
        float(known["patienceSeconds"]),
        base,
        target_wait_seconds=None if scaled_for is None else float(scaled_for),
    )


def _is_possible(setting: Setting) -> bool:
    """Return whether the scaler and the HPA take a setting."""
    base, wait = setting.base, setting.target_wait_seconds
    return (
        0 <= setting.reserve <= LARGEST_RESERVE
        and 0 <= setting.patience_seconds <= _MOST_PATIENCE_SECONDS
        and (
            base is None or (0 < base.quantile <= 1 and LEAST_BASE_SECONDS <= base.window_seconds <= MOST_BASE_SECONDS)
        )
        and (wait is None or 0 < wait < math.inf)
    )


def pool_of(agent: Agent, start_seconds: float) -> Pool:
    """Return an autoscaled agent's pool for the simulation.

    Args:
        agent: the agent.
        start_seconds: how long its Pods take to start.
    """
    autoscaling = agent.autoscaling
    assert autoscaling is not None
    return Pool(
        agent.limits.concurrent_tasks,
        start_seconds,
        autoscaling.min_replicas,
        autoscaling.max_replicas,
        min(autoscaling.cooldown_seconds, _LONGEST_COOLDOWN_SECONDS),
    )


def written(agent: Agent, setting: Setting, expected: Expected | None) -> Mapping[str, Any]:
    """Return a setting as the status of an autoscaled agent has it; `chosen_setting` reads a chosen one back."""
    autoscaling = agent.autoscaling
    assert autoscaling is not None
    slots = setting.tasks_per_replica or agent.limits.concurrent_tasks
    content: dict[str, Any] = {
        "mode": ADAPTIVE if agent.fixed_by is None else FIXED,
        "tasksPerReplica": slots,
        "patienceSeconds": setting.patience_seconds,
    }
    if setting.tasks_per_replica is None:
        content["reserve"] = setting.reserve
    if setting.base is not None:
        content |= {"baseQuantile": setting.base.quantile, "baseSeconds": setting.base.window_seconds}
    if autoscaling.target_wait_seconds is not None:
        content |= {
            "targetWaitSeconds": autoscaling.target_wait_seconds,
            "scaledForWaitSeconds": setting.target_wait_seconds,
        }
    if expected is not None:
        content |= {
            "expectedWaitSeconds": round(expected.wait_seconds, 1),
            "expectedReplicas": round(expected.replicas, 1),
        }
    return content
