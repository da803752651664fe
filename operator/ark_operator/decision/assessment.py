"""What was found out about an agent on the way to a decision, for its status and its events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ark_api.status import Mode, Reason
from ark_operator.decision.observed import Observed
from ark_taskqueue.ledger.budget import TokenUsage


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

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Assessment:
    """What was found out about an agent, beside its spec."""

    mode: Mode
    pin: Pin | None
    problem: Problem | None
    observed: Observed
    usage: TokenUsage | None
