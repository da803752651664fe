"""What a status says of a pool's sizing, and with that which sizing is in force: the rest follows the status."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from ark_api.agent import ADAPTIVE
from ark_api.moment import moment, written
from ark_kube.objects import Object
from ark_operator.decision.agent import Agent
from ark_operator.decision.observed import Observed
from ark_sizing import in_force
from ark_sizing.choice import Sizing

LEAST_BETWEEN = timedelta(minutes=5)
"""Two changes of a pool's sizing that nobody asked for."""
_NO_RECORD = "Nothing is on record yet."
_EXPECTED = ("expectedWaitSeconds", "expectedReplicas")
_ABOUT = frozenset((*_EXPECTED, "startSeconds", "message", "since"))
"""What says something of a sizing, and is no part of it."""


def build(agent: Agent, observed: Observed, now: datetime) -> Object | None:
    """Return the status's block; None where there is nothing to say."""
    measured = {} if observed.start_seconds is None else {"startSeconds": observed.start_seconds}
    if agent.autoscaling is None:
        return measured or None
    return {**measured, **_settled(agent, observed.sizing, now)}


def _settled(agent: Agent, choice: Sizing | None, now: datetime) -> Object:
    before: Mapping[str, Any] = agent.status.get("sizing") or {}
    present = in_force.setting_of(agent)
    if agent.fixed_by is not None:
        return _since(before, {**in_force.written(agent, present, None), "message": _fixed_message(agent)}, now)
    said = before.get("message") if before.get("mode") == ADAPTIVE else None
    if choice is not None and choice.setting != present:
        since = before.get("since")
        if since is None or now - moment(since) < LEAST_BETWEEN:
            choice = None
    if choice is None:
        content = {**in_force.written(agent, present, None), "message": said or _NO_RECORD}
        if _numbers(before) == _numbers(content):
            content |= {name: before[name] for name in _EXPECTED if name in before}
        return _since(before, content, now)
    # What once decided for the sizing says more than that no other one is better.
    stays = choice.setting == present and in_force.chosen_setting(agent) is not None
    message = (said if stays else None) or f"{choice.why[0].upper()}{choice.why[1:]}."
    return _since(before, {**in_force.written(agent, choice.setting, choice.expected), "message": message}, now)


def _numbers(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what makes one sizing another than another."""
    return {name: value for name, value in content.items() if name not in _ABOUT}


def _since(before: Mapping[str, Any], content: Object, now: datetime) -> Object:
    same = "since" in before and _numbers(before) == _numbers(content)
    return {**content, "since": before["since"] if same else written(now)}


def _fixed_message(agent: Agent) -> str:
    autoscaling = agent.autoscaling
    assert autoscaling is not None
    said = {"sizing": "is Fixed", "burst": "is false"}.get(str(agent.fixed_by), "is set")
    return f"spec.autoscaling.{agent.fixed_by} {said}."
