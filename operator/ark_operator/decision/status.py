"""What an ArkAgent's status says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ark_api.moment import written
from ark_api.names import OPERATOR
from ark_api.status import ConditionType, Reason, condition_of
from ark_kube.objects import Object
from ark_operator.decision import sizing
from ark_operator.decision.agent import Agent
from ark_operator.decision.assessment import Assessment
from ark_operator.decision.conditions import Condition, conditions_of
from ark_operator.decision.deployment import selector
from ark_operator.decision.previous import CONFLICT_KEPT, is_another_operators
from ark_taskqueue.ledger.budget import TokenUsage

_LONGEST_MESSAGE = 1024


def build(agent: Agent, found: Assessment, now: datetime) -> Object:
    """Return the whole status."""
    before = agent.status
    content: Object = {
        "mode": str(found.mode),
        "observedGeneration": agent.generation,
        **_counts(agent, found.observed.deployment),
        "selector": selector(agent),
    }
    if found.pin is not None:
        content["pin"] = {
            "replicas": found.pin.replicas,
            "since": written(found.pin.since),
            **({"until": written(found.pin.until)} if found.pin.until is not None else {}),
        }
    depth = found.observed.shown_depth
    queue = {"waiting": depth.waiting, "inFlight": depth.in_flight} if depth is not None else before.get("queue")
    if queue is not None:
        content["queue"] = queue
    sized = sizing.build(agent, found.observed, now)
    if sized is not None:
        content["sizing"] = sized
    tokens = _tokens(agent, found.usage)
    if tokens is not None:
        content["dailyTokenUsage"] = tokens
    known = before.get("conditions") or []
    content["conditions"] = [
        *(_written(condition, known, agent, now) for condition in conditions_of(agent, found)),
        *(entry for entry in known if is_another_operators(entry, now)),
    ]
    return content


def yields(agent: Agent, owner: str, own: str, now: datetime) -> Object | None:
    """Return the condition with which an operator says that it leaves an agent to another one.

    None where it is there, or the other one has not written a status yet.
    """
    known = agent.status.get("conditions")
    if not known:
        return None
    message = (
        f"Operator {owner} manages this agent, so {own} leaves it alone. Uninstall one of them, or give each a "
        f"namespace of its own (watchNamespace). To hand this agent over to {own}: "
        f"kubectl annotate deployment {agent.deployment_name} {OPERATOR}-"
    )
    before = condition_of(agent.status, ConditionType.OPERATOR_CONFLICT)
    if (
        before is not None
        and before.get("message") == message
        and is_another_operators(before, now + CONFLICT_KEPT / 2)
    ):
        return None
    return {
        "type": ConditionType.OPERATOR_CONFLICT,
        "status": "True",
        "reason": Reason.ANOTHER_OPERATOR,
        "message": message[:_LONGEST_MESSAGE],
        "observedGeneration": agent.generation,
        "lastTransitionTime": written(now),
    }


def _counts(agent: Agent, existing: Object | None) -> Object:
    counts = existing.get("status") or {} if existing is not None and agent.owns(existing) else {}
    return {"replicas": int(counts.get("replicas") or 0), "readyReplicas": int(counts.get("readyReplicas") or 0)}


def _tokens(agent: Agent, usage: TokenUsage | None) -> Object | None:
    if agent.limits.daily_tokens is None:
        return None
    if usage is None:
        known: Object | None = agent.status.get("dailyTokenUsage")
        return known
    total = usage.total
    return {"inputTokens": usage.input, "outputTokens": usage.output, "totalTokens": total}


def _written(condition: Condition, known: Sequence[Mapping[str, Any]], agent: Agent, now: datetime) -> Object:
    """Return a condition as it is written; its time is that of the last change of its status."""
    before = next((entry for entry in known if entry.get("type") == condition.type), None)
    since = before["lastTransitionTime"] if before and before["status"] == condition.status else written(now)
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message[:_LONGEST_MESSAGE],
        "observedGeneration": agent.generation,
        "lastTransitionTime": since,
    }
