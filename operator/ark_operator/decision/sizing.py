"""What a status says of a pool's sizing, and with that which sizing is in force: the rest follows the status."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from ark_api.moment import moment, written
from ark_kube.objects import Object
from ark_operator.decision.agent import Agent
from ark_operator.decision.observed import Observed
from ark_sizing import in_force

LEAST_BETWEEN = timedelta(minutes=5)
"""Two changes of a pool's sizing that nobody asked for."""
_NOT_CHOSEN = "No sizing has been chosen yet."
_NO_START = "No Pod has been seen starting yet, so no sizing can be chosen."
_EXPECTED = ("expectedWaitSeconds", "expectedReplicas")
_KEPT = ("message", *_EXPECTED)
_ABOUT = frozenset((*_EXPECTED, "startSeconds", "message", "since"))
"""Fields of the block that may change while the sizing stays."""


def build(agent: Agent, observed: Observed, now: datetime) -> Object | None:
    """Return the status's block; None where there is nothing to say."""
    measured = {} if observed.start_seconds is None else {"startSeconds": observed.start_seconds}
    if agent.autoscaling is None:
        return measured or None
    return {**measured, **_settled(agent, observed, now)}


def deferred_seconds(agent: Agent, observed: Observed, now: datetime) -> float | None:
    """Return how long a choice is put off, since the last change is too fresh; None where none is."""
    if agent.fixed_by is not None or observed.sizing is None or observed.sizing.setting == in_force.setting_of(agent):
        return None
    left = LEAST_BETWEEN - _age(agent.status.get("sizing") or {}, now)
    return left.total_seconds() if left > timedelta(0) else None


def _settled(agent: Agent, observed: Observed, now: datetime) -> Object:
    before: Mapping[str, Any] = agent.status.get("sizing") or {}
    present, chosen = in_force.setting_of(agent), in_force.chosen_setting(agent)
    if agent.fixed_by is not None:
        return _since(before, {**in_force.written(agent, present, None), "message": _fixed_message(agent)}, now)
    choice = observed.sizing if deferred_seconds(agent, observed, now) is None else None
    if choice is None:
        content = in_force.written(agent, present, None)
        if _numbers(before) == _numbers(content):
            return _since(before, {**content, **{name: before[name] for name in _KEPT if name in before}}, now)
        message = _NO_START if observed.start_seconds is None else _NOT_CHOSEN
        return _since(before, {**content, "message": message}, now)
    # What once decided for the sizing says more than that no other one is better.
    stays = chosen is not None and choice.setting == present
    message = (before.get("message") if stays else None) or f"{choice.why[0].upper()}{choice.why[1:]}."
    return _since(before, {**in_force.written(agent, choice.setting, choice.expected), "message": message}, now)


def _numbers(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what makes one sizing another than another; the slots of a replica are the spec's where one is chosen."""
    given = "tasksPerReplica" if "reserve" in content else None
    return {name: value for name, value in content.items() if name not in _ABOUT and name != given}


def _since(before: Mapping[str, Any], content: Mapping[str, Any], now: datetime) -> Object:
    same = "since" in before and _numbers(before) == _numbers(content)
    return {**content, "since": before["since"] if same else written(now)}


def _age(block: Mapping[str, Any], now: datetime) -> timedelta:
    """Return how old a sizing is: new where there is none yet, and old enough where its time makes no sense."""
    if "since" not in block:
        return timedelta(0)
    try:
        age = now - moment(str(block["since"]))
    except ValueError:
        return LEAST_BETWEEN
    return LEAST_BETWEEN if age < timedelta(0) else age


def _fixed_message(agent: Agent) -> str:
    said = {"sizing": "is Fixed", "burst": "is false"}.get(str(agent.fixed_by), "is set")
    return f"spec.autoscaling.{agent.fixed_by} {said}."
