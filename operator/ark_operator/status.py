"""What an ArkAgent's status says, and the events that go with its changes. Pure.

Events are told from the difference between the status that was written last and the one that is about to be, so a
restarted operator neither repeats nor forgets one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ark_api.agent import Autoscaling
from ark_api.moment import moment, written
from ark_api.names import OPERATOR
from ark_api.status import ConditionType, Mode, Reason, Truth, condition_of
from ark_kube.objects import Object
from ark_operator.agent import Agent
from ark_operator.deployment import selector
from ark_operator.observed import Observed, Usage
from ark_operator.plan import Note, Scale
from ark_operator.scaled_object import blocks_scale_out

_CONFLICT_KEPT = timedelta(minutes=30)
_LONGEST_MESSAGE = 1024
Saying = tuple[Truth, str, str]
"""Status, reason and message of a condition."""


@dataclass(frozen=True, slots=True)
class Pin:
    """A person's number."""

    replicas: int
    since: datetime
    until: datetime | None
    """When it ends by itself; None for never."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the Deployment cannot be as it should be."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Found:
    """What was found out about an agent, beside its spec."""

    mode: Mode
    pin: Pin | None
    problem: Problem | None
    observed: Observed
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class _Condition:
    type: str
    status: Truth
    reason: str
    message: str


def pin_of(content: Mapping[str, Any]) -> Pin | None:
    """Answer the pin that a status tells of."""
    pin = content.get("pin")
    if not pin:
        return None
    until = pin.get("until")
    return Pin(int(pin["replicas"]), moment(pin["since"]), moment(until) if until else None)


def build(agent: Agent, found: Found, now: datetime) -> Object:
    """Answer the whole status."""
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
    tokens = _tokens(agent, found.usage)
    if tokens is not None:
        content["dailyTokenUsage"] = tokens
    known = before.get("conditions") or []
    content["conditions"] = [
        *(_written(condition, known, agent, now) for condition in _conditions(agent, found)),
        *(entry for entry in known if _is_another_operators(entry, now)),
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
        f"Operator {owner} looks after this agent, and {own} leaves it alone. Uninstall one of them, or give each a "
        f"namespace of its own (watchNamespace). To hand this agent over to {own}: "
        f"kubectl annotate deployment {agent.deployment_name} {OPERATOR}-"
    )
    before = condition_of(agent.status, ConditionType.OPERATOR_CONFLICT)
    if (
        before is not None
        and before.get("message") == message
        and _is_another_operators(before, now + _CONFLICT_KEPT / 2)
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


def _is_another_operators(entry: Mapping[str, Any], now: datetime) -> bool:
    """Whether a condition is another operator's that has said so lately: it says it again as long as it is there."""
    if entry.get("type") != ConditionType.OPERATOR_CONFLICT:
        return False
    try:
        return now - moment(str(entry.get("lastTransitionTime"))) < _CONFLICT_KEPT
    except ValueError:
        return False


def notes(agent: Agent, found: Found) -> Iterator[Note]:
    """Give the events that the change from the last status is worth."""
    before = agent.status
    was, was_pinned = before.get("mode"), pin_of(before)
    budget = condition_of(before, ConditionType.BUDGET_EXCEEDED) or {}
    since = str(budget.get("lastTransitionTime", "first"))
    if found.mode is Mode.BUDGET and was != Mode.BUDGET:
        yield Note("Warning", "DailyLimitReached", _budget_message(agent, found.usage), f"{since}, {agent.generation}")
    if found.mode is not Mode.BUDGET and was == Mode.BUDGET:
        message = f"{_restored_message(agent, found.usage)} The pool is {found.mode} again."
        yield Note("Normal", "BudgetRestored", message, f"{since}, {agent.generation}")
    pin = found.pin
    if pin is not None and (was_pinned is None or was_pinned.replicas != pin.replicas):
        yield Note("Normal", "Pinned", _pin_message(agent, pin), f"{agent.generation}")
    if pin is None and was_pinned is not None:
        message = f"The pool is no longer pinned to {was_pinned.replicas} replicas; it is {found.mode}."
        yield Note("Normal", "Unpinned", message, written(was_pinned.since))


def burst_notes(agent: Agent, observed: Observed, scale: Scale | None) -> Iterator[Note]:
    """Give the event of a burst."""
    there, depth = observed.deployment, observed.depth
    if scale is None or not scale.burst or there is None or depth is None:
        return
    message = (
        f"Raised {agent.deployment_name} from {there['spec']['replicas']} to {scale.replicas} replicas at once: "
        f"{depth.waiting} tasks wait, {depth.in_flight} are in flight."
    )
    yield Note("Normal", "ScaledBurst", message, f"{there['metadata']['resourceVersion']}")


def _counts(agent: Agent, there: Object | None) -> Object:
    counts = there.get("status") or {} if there is not None and agent.owns(there) else {}
    return {"replicas": int(counts.get("replicas") or 0), "readyReplicas": int(counts.get("readyReplicas") or 0)}


def _tokens(agent: Agent, usage: Usage | None) -> Object | None:
    if agent.limits.daily_tokens is None:
        return None
    if usage is None:
        known: Object | None = agent.status.get("dailyTokenUsage")
        return known
    total = usage.input_tokens + usage.output_tokens
    return {"inputTokens": usage.input_tokens, "outputTokens": usage.output_tokens, "totalTokens": total}


def _conditions(agent: Agent, found: Found) -> Iterator[_Condition]:
    yield _ready(found)
    if agent.limits.daily_tokens is not None:
        yield _budget(agent, found)
    yield _autoscaling(agent, found)


def _ready(found: Found) -> _Condition:
    truth, reason, message = next(_ready_sayings(found))
    return _Condition(ConditionType.READY, truth, reason, message)


def _ready_sayings(found: Found) -> Iterator[Saying]:
    """Give what may be said of Ready; the first counts."""
    if found.problem is not None:
        yield "False", found.problem.reason, found.problem.message
    if found.mode is Mode.BUDGET:
        yield "False", Reason.BUDGET_EXCEEDED, "The daily token limit is reached; see condition BudgetExceeded."
    there = found.observed.deployment
    if there is None:
        yield "False", Reason.CREATING, "The Deployment is not there yet."
        return
    wanted = int(there["spec"].get("replicas", 1))
    if wanted == 0:
        yield "True", Reason.SCALED_TO_ZERO, "No agent is wanted now."
    counts = there.get("status") or {}
    ready, updated = int(counts.get("readyReplicas") or 0), int(counts.get("updatedReplicas") or 0)
    seen = int(counts.get("observedGeneration") or 0) >= int(there["metadata"].get("generation", 0))
    if seen and ready >= wanted and updated >= wanted:
        yield "True", Reason.ALL_REPLICAS_READY, f"All {wanted} agents are ready."
    failure = _failure(counts)
    if failure:
        yield "False", Reason.DEPLOYMENT_FAILING, f"{ready} of {wanted} agents are ready: {failure}"
    yield "False", Reason.PROGRESSING, f"{ready} of {wanted} agents are ready."


def _failure(counts: Mapping[str, Any]) -> str:
    """Answer why a Deployment gets no further."""
    for kind, bad in (("ReplicaFailure", "True"), ("Progressing", "False")):
        found = condition_of(counts, kind)
        if found is not None and found.get("status") == bad:
            return str(found.get("message", ""))
    return ""


def _budget(agent: Agent, found: Found) -> _Condition:
    if found.usage is None:
        # Unknown changes nothing: what was said last stays.
        known = condition_of(agent.status, ConditionType.BUDGET_EXCEEDED)
        if known is not None:
            return _Condition(ConditionType.BUDGET_EXCEEDED, known["status"], known["reason"], known["message"])
        message = "The token usage has not been read yet."
        return _Condition(ConditionType.BUDGET_EXCEEDED, "Unknown", Reason.USAGE_UNKNOWN, message)
    if found.mode is Mode.BUDGET:
        return _Condition(
            ConditionType.BUDGET_EXCEEDED, "True", Reason.DAILY_LIMIT_REACHED, _budget_message(agent, found.usage)
        )
    limit, call = agent.limits.daily_tokens, agent.limits.tokens_per_call
    message = f"A full call of {call} tokens fits into the limit of {limit} tokens in 24 hours."
    return _Condition(ConditionType.BUDGET_EXCEEDED, "False", Reason.WITHIN_LIMIT, message)


def _budget_message(agent: Agent, usage: Usage | None) -> str:
    limit, call = agent.limits.daily_tokens, agent.limits.tokens_per_call
    back = "as the 24 hours move on"
    if usage is not None and usage.restored_at is not None:
        back = f"at {written(usage.restored_at)}"
    used = f"{usage.input_tokens + usage.output_tokens} of " if usage is not None else ""
    return (
        f"{used}{limit} tokens are used up in 24 hours, and a full call of {call} no longer fits: the pool is at zero, "
        f"and comes back by itself {back}. Raise limits.maxDailyTokens to have it back now."
    )


def _restored_message(agent: Agent, usage: Usage | None) -> str:
    limit, call = agent.limits.daily_tokens, agent.limits.tokens_per_call
    if limit is None:
        return "There is no daily token limit any more."
    used = f"{usage.input_tokens + usage.output_tokens} of {limit}" if usage is not None else f"Less than {limit}"
    return f"{used} tokens are used in 24 hours, and a full call of {call} fits again."


def _pin_message(agent: Agent, pin: Pin) -> str:
    end = f"until {written(pin.until)}" if pin.until is not None else "until it is taken back"
    return (
        f"spec.replicas is {pin.replicas}, a person's number: the pool stays there {end}, and KEDA is paused. Back to "
        f"the queue: kubectl ark auto {agent.name}, or set spec.replicas to null."
    )


def _autoscaling(agent: Agent, found: Found) -> _Condition:
    truth, reason, message = next(_autoscaling_sayings(agent, found))
    return _Condition(ConditionType.AUTOSCALING, truth, reason, message)


def _autoscaling_sayings(agent: Agent, found: Found) -> Iterator[Saying]:
    """Give what may be said of Autoscaling; the first counts."""
    observed = found.observed
    if observed.others:
        message = (
            f"{' and '.join(observed.others)} also scales Deployment {agent.deployment_name}: remove it, or have it "
            "scale this ArkAgent without spec.autoscaling. Until then the operator enforces nothing but the budget."
        )
        yield "False", Reason.CONFLICT, message
    if agent.autoscaling is None:
        yield "False", Reason.DISABLED, "spec.autoscaling is not set: the pool has spec.replicas agents."
        return
    if not observed.keda.installed:
        message = "KEDA is not installed: the pool keeps its size. Install KEDA; it is noticed within half a minute."
        yield "False", Reason.KEDA_MISSING, message
    scaled = observed.scaled_object
    if scaled is not None and not agent.owns(scaled):
        message = f"ScaledObject {agent.name} is there already and is not this agent's: delete or rename it."
        yield "False", Reason.NAME_TAKEN, message
    refusal = observed.refusals.get("ScaledObject")
    if refusal is not None:
        yield "False", Reason.SCALED_OBJECT_REFUSED, f"The API server refuses the ScaledObject: {refusal.message}"
    yield from _paused_sayings(agent, found)
    yield from _keda_sayings(agent, agent.autoscaling, found)


def _paused_sayings(agent: Agent, found: Found) -> Iterator[Saying]:
    """Say that KEDA is not to scale, where it is not."""
    if found.mode is Mode.BUDGET:
        yield "False", Reason.BUDGET_EXCEEDED, "KEDA is paused while the daily token limit is reached."
    if found.pin is not None:
        yield "False", Reason.PINNED, _pin_message(agent, found.pin)


def _keda_sayings(agent: Agent, autoscaling: Autoscaling, found: Found) -> Iterator[Saying]:
    """Say whether KEDA scales, where it is to."""
    if found.observed.keda.down:
        message = (
            f"{found.observed.keda.down}: the pool keeps its size. Look at Deployment keda-operator; a person's number "
            "and the budget work all the same."
        )
        yield "False", Reason.KEDA_DOWN, message[0].upper() + message[1:]
    if found.problem is not None and found.problem.reason in (Reason.INVALID_QUEUE, Reason.UNKNOWN_REDIS):
        yield "False", found.problem.reason, found.problem.message
    scaled = found.observed.scaled_object
    told = None if scaled is None else condition_of(scaled.get("status") or {}, ConditionType.READY)
    if scaled is None or told is None or told.get("status") == "Unknown":
        yield "Unknown", Reason.PENDING, "KEDA has not taken the ScaledObject yet."
        return
    if told.get("status") != "True":
        yield "False", Reason.SCALED_OBJECT_NOT_READY, f"KEDA cannot scale: {told.get('message', '')}"
    pause = blocks_scale_out(scaled)
    if pause is not None:
        yield "False", Reason.PAUSED_BY_HAND, f"ScaledObject {agent.name} has the annotation {pause}: remove it."
    span = f"{autoscaling.min_replicas} to {autoscaling.max_replicas}"
    yield "True", Reason.FOLLOWS_QUEUE, f"KEDA keeps {span} replicas by the demand of {agent.queue.name}."


def _written(condition: _Condition, known: Sequence[Mapping[str, Any]], agent: Agent, now: datetime) -> Object:
    """Answer a condition as it is written; its time is that of the last change of its status."""
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
