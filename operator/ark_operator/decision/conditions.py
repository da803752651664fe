"""The conditions of an ArkAgent: of all that may be said, the first counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ark_api.agent import Autoscaling
from ark_api.status import ConditionType, Mode, Reason, Truth, condition_of
from ark_operator.decision.agent import Agent
from ark_operator.decision.assessment import Assessment
from ark_operator.decision.messages import budget_message, pin_message
from ark_operator.decision.scaled_object import blocks_scale_out

Verdict: TypeAlias = tuple[Truth, Reason, str]
"""Status, reason and message of a condition."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition, without its times."""

    type: str
    status: Truth
    reason: Reason
    message: str


def conditions_of(agent: Agent, found: Assessment) -> Iterator[Condition]:
    """Yield the conditions that the agent is to have."""
    yield _ready(found)
    if agent.limits.daily_tokens is not None:
        yield _budget(agent, found)
    yield _autoscaling(agent, found)


def _ready(found: Assessment) -> Condition:
    truth, reason, message = next(_ready_verdicts(found))
    return Condition(ConditionType.READY, truth, reason, message)


def _ready_verdicts(found: Assessment) -> Iterator[Verdict]:
    """Yield what may be said of Ready; the first counts."""
    if found.problem is not None:
        yield "False", found.problem.reason, found.problem.message
    if found.mode is Mode.BUDGET:
        yield "False", Reason.BUDGET_EXCEEDED, "The daily token limit is reached; see condition BudgetExceeded."
    existing = found.observed.deployment
    if existing is None:
        yield "False", Reason.CREATING, "The Deployment does not exist yet."
        return
    wanted = int(existing["spec"].get("replicas", 1))
    if wanted == 0:
        yield "True", Reason.SCALED_TO_ZERO, "The pool is scaled to zero."
    counts = existing.get("status") or {}
    ready, updated = int(counts.get("readyReplicas") or 0), int(counts.get("updatedReplicas") or 0)
    seen = int(counts.get("observedGeneration") or 0) >= int(existing["metadata"].get("generation", 0))
    if seen and ready >= wanted and updated >= wanted:
        yield "True", Reason.ALL_REPLICAS_READY, f"All {wanted} agents are ready."
    failure = _failure(counts)
    if failure:
        yield "False", Reason.DEPLOYMENT_FAILING, f"{ready} of {wanted} agents are ready: {failure}"
    yield "False", Reason.PROGRESSING, f"{ready} of {wanted} agents are ready."


def _failure(counts: Mapping[str, Any]) -> str:
    """Return why a Deployment gets no further."""
    for kind, bad in (("ReplicaFailure", "True"), ("Progressing", "False")):
        found = condition_of(counts, kind)
        if found is not None and found.get("status") == bad:
            return str(found.get("message", ""))
    return ""


def _budget(agent: Agent, found: Assessment) -> Condition:
    if found.usage is None:
        # Unknown changes nothing: what was said last stays.
        known = condition_of(agent.status, ConditionType.BUDGET_EXCEEDED)
        if known is not None:
            return Condition(ConditionType.BUDGET_EXCEEDED, known["status"], known["reason"], known["message"])
        message = "The token usage has not been read yet."
        return Condition(ConditionType.BUDGET_EXCEEDED, "Unknown", Reason.USAGE_UNKNOWN, message)
    if found.mode is Mode.BUDGET:
        return Condition(
            ConditionType.BUDGET_EXCEEDED, "True", Reason.DAILY_LIMIT_REACHED, budget_message(agent, found.usage)
        )
    limit, call = agent.limits.daily_tokens, agent.limits.tokens_per_call
    message = f"A full call of {call} tokens fits into the limit of {limit} tokens in 24 hours."
    return Condition(ConditionType.BUDGET_EXCEEDED, "False", Reason.WITHIN_LIMIT, message)


def _autoscaling(agent: Agent, found: Assessment) -> Condition:
    truth, reason, message = next(_autoscaling_verdicts(agent, found))
    return Condition(ConditionType.AUTOSCALING, truth, reason, message)


def _autoscaling_verdicts(agent: Agent, found: Assessment) -> Iterator[Verdict]:
    """Yield what may be said of Autoscaling; the first counts."""
    observed = found.observed
    if observed.others:
        message = (
            f"{' and '.join(observed.others)} also scales Deployment {agent.deployment_name}: remove it, or unset "
            "spec.autoscaling and have it scale this ArkAgent. Until then the operator enforces only the budget."
        )
        yield "False", Reason.CONFLICT, message
    if agent.autoscaling is None:
        yield "False", Reason.DISABLED, "spec.autoscaling is not set: the pool size is fixed at spec.replicas."
        return
    if not observed.keda.installed:
        message = "KEDA is not installed: the pool keeps its size. Install it; the operator detects it within 30 s."
        yield "False", Reason.KEDA_MISSING, message
    scaled = observed.scaled_object
    if scaled is not None and not agent.owns(scaled):
        message = f"ScaledObject {agent.name} already exists and is not owned by this agent: delete or rename it."
        yield "False", Reason.NAME_TAKEN, message
    refusal = observed.refusals.get("ScaledObject")
    if refusal is not None:
        yield "False", Reason.SCALED_OBJECT_REFUSED, f"The API server refuses the ScaledObject: {refusal.message}"
    yield from _paused_verdicts(agent, found)
    yield from _keda_verdicts(agent, agent.autoscaling, found)


def _paused_verdicts(agent: Agent, found: Assessment) -> Iterator[Verdict]:
    """Say that KEDA is not to scale, where it is not."""
    if found.mode is Mode.BUDGET:
        yield "False", Reason.BUDGET_EXCEEDED, "KEDA is paused while the daily token limit is reached."
    if found.pin is not None:
        yield "False", Reason.PINNED, pin_message(agent, found.pin)


def _keda_verdicts(agent: Agent, autoscaling: Autoscaling, found: Assessment) -> Iterator[Verdict]:
    """Say whether KEDA scales, where it is to."""
    if found.observed.keda.down:
        message = (
            f"{found.observed.keda.down}: the pool keeps its size. Check Deployment keda-operator; pins "
            "and the budget still work."
        )
        yield "False", Reason.KEDA_DOWN, message[0].upper() + message[1:]
    if found.problem is not None and found.problem.reason in (Reason.INVALID_QUEUE, Reason.UNKNOWN_REDIS):
        yield "False", found.problem.reason, found.problem.message
    scaled = found.observed.scaled_object
    ready_condition = None if scaled is None else condition_of(scaled.get("status") or {}, ConditionType.READY)
    if scaled is None or ready_condition is None or ready_condition.get("status") == "Unknown":
        yield "Unknown", Reason.PENDING, "KEDA has not processed the ScaledObject yet."
        return
    if ready_condition.get("status") != "True":
        yield "False", Reason.SCALED_OBJECT_NOT_READY, f"KEDA cannot scale: {ready_condition.get('message', '')}"
    pause = blocks_scale_out(scaled)
    if pause is not None:
        yield "False", Reason.PAUSED_BY_HAND, f"ScaledObject {agent.name} is paused: remove its annotation {pause}."
    span = f"{autoscaling.min_replicas} to {autoscaling.max_replicas}"
    yield "True", Reason.FOLLOWS_QUEUE, f"KEDA keeps the pool at {span} replicas, following queue {agent.queue.name}."
