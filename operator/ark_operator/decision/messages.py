"""Sentences that conditions and events share."""

from __future__ import annotations

from ark_api.moment import written
from ark_operator.decision.agent import Agent
from ark_operator.decision.assessment import Pin
from ark_taskqueue.ledger.budget import TokenUsage


def budget_message(agent: Agent, usage: TokenUsage | None) -> str:
    """Return what is said when the daily token limit is reached."""
    limit, call = agent.limits.daily_tokens, agent.limits.tokens_per_call
    back = "as the 24-hour window moves on"
    if usage is not None and usage.restored_at is not None:
        back = f"at {written(usage.restored_at)}"
    used = f"{usage.total} of " if usage is not None else ""
    return (
        f"The pool is at zero: {used}{limit} tokens were used in 24 hours, and a full call of {call} no longer fits. "
        f"It comes back by itself {back}; raise limits.maxDailyTokens to bring it back now."
    )


def restored_message(agent: Agent, usage: TokenUsage | None) -> str:
    """Return what is said when a full call fits again."""
    limit, call = agent.limits.daily_tokens, agent.limits.tokens_per_call
    if limit is None:
        return "The daily token limit was removed."
    used = f"{usage.total} of {limit}" if usage is not None else f"Less than {limit}"
    return f"{used} tokens were used in 24 hours, so a full call of {call} fits again."


def pin_message(agent: Agent, pin: Pin) -> str:
    """Return what is said of a person's number."""
    end = f"until {written(pin.until)}" if pin.until is not None else "until it is unpinned"
    return (
        f"The pool is pinned to spec.replicas={pin.replicas} {end}, and KEDA is paused. To follow the queue again, "
        f"run kubectl ark auto {agent.name} or set spec.replicas to null."
    )
