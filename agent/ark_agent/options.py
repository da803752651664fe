"""What a worker may take on, and what tells of its work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ark_agent.metrics import AgentMetrics
from ark_agent.tracing import Tracing


@dataclass(frozen=True, slots=True)
class WorkLimits:
    """What a worker may take on."""

    concurrent_tasks: int = 5
    task_seconds: float = 120.0
    """The most that one attempt may take."""
    grace_seconds: float = 25.0
    """How long running tasks may take to end after a stop."""
    lower_priority_share: float = 0.1
    """Share of the slots that tasks of lower priority have while higher ones wait."""


@dataclass(frozen=True, slots=True)
class Reports:
    """What tells of a worker's work."""

    metrics: AgentMetrics
    tracing: Tracing = field(default_factory=Tracing)
    """Makes the attempts' spans."""
    scrub: Callable[[str], str] = str
    """Takes known secrets out of an error before it is stored."""
    log_texts: bool = False
    """Whether logs may have errors' full texts, which may quote prompts."""
