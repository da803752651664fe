"""The horizontal pod autoscaler's arithmetic for one external metric of type AverageValue, as pure functions.

After kubernetes/kubernetes, pkg/controller/podautoscaler (replica_calculator.go, horizontal.go): tolerance, then
bounds, stabilization windows and the policies of ``spec.behavior``. Times are trace seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

TOLERANCE = 0.1
"""Relative deviation from the target within which the replicas stay (the controller manager's default)."""
SYNC_SECONDS = 15.0
"""Time between two decisions (the controller manager's default)."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How much the replicas may change within a period."""

    kind: Literal["Pods", "Percent"]
    value: int
    period_seconds: float = 15.0


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one direction."""

    stabilization_seconds: float
    policies: tuple[Policy, ...]
    select: Literal["Max", "Min", "Disabled"] = "Max"


@dataclass(frozen=True, slots=True)
class Behavior:
    """``spec.behavior``: Kubernetes' defaults."""

    scale_up: Rules = Rules(0, (Policy("Pods", 4), Policy("Percent", 100)))
    scale_down: Rules = Rules(300, (Policy("Percent", 100),))


UNTHROTTLED_UP = Rules(0, (Policy("Percent", 10_000), Policy("Pods", 1000)))
"""Scale up to whatever is wanted at once."""


@dataclass(slots=True)
class History:
    """What earlier decisions left behind: recommendations, and changes with their times."""

    recommendations: list[tuple[float, int]] = field(default_factory=list)
    changes: list[tuple[float, int]] = field(default_factory=list)
    """Replicas added (positive) or removed (negative)."""

    def changed(self, now: float, seconds: float, sign: int) -> int:
        """Return how many replicas were added (sign 1) or removed (sign -1) in the last seconds."""
        return sum(sign * change for at, change in self.changes if now - at < seconds and change * sign > 0)

    def forget_before(self, moment: float) -> None:
        """Drop what no rule looks at any more."""
        self.recommendations = [entry for entry in self.recommendations if entry[0] >= moment]
        self.changes = [entry for entry in self.changes if entry[0] >= moment]


def wanted(metric: float, target: float, replicas: int, tolerance: float = TOLERANCE) -> int:
    """Return how many replicas the metric asks for: ``ceil(metric / target)``, or those there are within tolerance.

    Args:
        metric: sum over the pool.
        target: average that each replica should have.
        replicas: ``status.replicas``.
        tolerance: as a share, within which nothing changes.
    """
    if replicas and abs(metric / (target * replicas) - 1.0) <= tolerance:
        return replicas
    return math.ceil(metric / target)


def decide(
    recommended: int, current: int, least: int, most: int, behavior: Behavior, history: History, now: float
) -> int:
    """Return the replicas after bounds, stabilization and policies, and remember them in the history.

    Args:
        recommended: what the metric asks for, see `wanted`.
        current: replicas now.
        least: the autoscaler's minReplicas.
        most: its maxReplicas.
        behavior: rules of both directions.
        history: of this autoscaler; changed.
        now: trace seconds.
    """
    up, down = behavior.scale_up, behavior.scale_down
    stabilized = _stabilize(recommended, current, up, down, history, now)
    history.recommendations.append((now, recommended))
    if stabilized > current:
        limit = _up_limit(current, up, history, now)
        decided = min(stabilized, max(limit, current), most)
    elif stabilized < current:
        limit = _down_limit(current, down, history, now)
        decided = max(stabilized, min(limit, current), least)
    else:
        decided = stabilized
    decided = max(least, min(most, decided))
    if decided != current:
        history.changes.append((now, decided - current))
    periods = [policy.period_seconds for policy in (*up.policies, *down.policies)]
    history.forget_before(now - max(up.stabilization_seconds, down.stabilization_seconds, *periods))
    return decided


def _stabilize(recommended: int, current: int, up: Rules, down: Rules, history: History, now: float) -> int:
    """Not above the lowest recommendation of the up window, not below the highest of the down window."""

    def window(seconds: float) -> Sequence[int]:
        return [replicas for at, replicas in history.recommendations if now - at < seconds] + [recommended]

    lowest, highest = min(window(up.stabilization_seconds)), max(window(down.stabilization_seconds))
    return min(max(current, lowest), highest)


def _up_limit(current: int, rules: Rules, history: History, now: float) -> int:
    def proposal(policy: Policy) -> int:
        added = history.changed(now, policy.period_seconds, 1)
        removed = history.changed(now, policy.period_seconds, -1)
        start = current - added + removed
        return start + policy.value if policy.kind == "Pods" else math.ceil(start * (1 + policy.value / 100))

    return _selected(current, rules, proposal, max, min)


def _down_limit(current: int, rules: Rules, history: History, now: float) -> int:
    def proposal(policy: Policy) -> int:
        added = history.changed(now, policy.period_seconds, 1)
        removed = history.changed(now, policy.period_seconds, -1)
        start = current - added + removed
        return start - policy.value if policy.kind == "Pods" else int(start * (1 - policy.value / 100))

    # "Max" is the largest change, which downwards is the fewest replicas.
    return _selected(current, rules, proposal, min, max)


def _selected(
    current: int,
    rules: Rules,
    proposal: Callable[[Policy], int],
    largest: Callable[..., int],
    smallest: Callable[..., int],
) -> int:
    if rules.select == "Disabled":
        return current
    choose = largest if rules.select == "Max" else smallest
    return choose(proposal(policy) for policy in rules.policies)
