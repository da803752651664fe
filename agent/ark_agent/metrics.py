"""The worker's Prometheus metrics, declared together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

disable_created_metrics()

CallOutcome = Literal["answered", "failed", "unclear", "busy"]
CALL_OUTCOMES: tuple[CallOutcome, ...] = ("answered", "failed", "unclear", "busy")
TaskOutcome = Literal["completed", "retried", "dead", "given_back", "lost"]
TASK_OUTCOMES: tuple[TaskOutcome, ...] = ("completed", "retried", "dead", "given_back", "lost")
_SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


class AgentMetrics:
    """All metrics of one worker process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._tasks = Counter("ark_agent_tasks", "Tasks by what became of them", ["outcome"], registry=registry)
        self._wait = Histogram(
            "ark_agent_task_wait_seconds",
            "Time from a task's submission to its claim by this worker",
            buckets=_SECONDS,
            registry=registry,
        )
        self._run = Histogram(
            "ark_agent_task_run_seconds", "Time of an attempt at a task", buckets=_SECONDS, registry=registry
        )
        self._in_flight = Gauge("ark_agent_tasks_in_flight", "Tasks that are worked on now", registry=registry)
        self._slots = Gauge("ark_agent_task_slots", "Tasks that are worked on at a time, at most", registry=registry)
        self.tokens = Counter(
            "ark_agent_tokens", "Tokens that LLM calls have cost, by kind: input or output", ["kind"], registry=registry
        )
        self._calls = Counter(
            "ark_agent_llm_calls",
            "LLM calls by outcome: answered, failed, unclear (counted in full), busy (tried again)",
            ["outcome"],
            registry=registry,
        )
        self._call_seconds = Histogram(
            "ark_agent_llm_call_seconds", "Time of an LLM call", buckets=_SECONDS, registry=registry
        )
        self.letters_dropped = Counter(
            "ark_agent_dead_letters_dropped",
            "Dead letters that this worker deleted because they were too many or too old",
            registry=registry,
        )
        self.budget_limit = Gauge(
            "ark_agent_budget_tokens", "Daily token limit; +Inf where there is none", registry=registry
        )
        self.budget_left = Gauge(
            "ark_agent_budget_left_tokens",
            "What is left of the daily token limit, spent and reserved tokens taken off",
            registry=registry,
        )
        self._taking = Gauge(
            "ark_agent_taking_tasks",
            "Whether the worker takes tasks: 1, or 0 while it could do none",
            registry=registry,
        )
        self.budget_limit.set(float("nan"))
        self.budget_left.set(float("nan"))
        for outcome in TASK_OUTCOMES:
            self._tasks.labels(outcome)
        for call_outcome in CALL_OUTCOMES:
            self._calls.labels(call_outcome)
        for kind in ("input", "output"):
            self.tokens.labels(kind)

    def started(self, waited_seconds: float) -> None:
        """A task was taken that had waited so long."""
        self._wait.observe(waited_seconds)

    def ended(self, outcome: TaskOutcome, seconds: float | None = None) -> None:
        """A task left this worker, after so long an attempt where there was one."""
        self._tasks.labels(outcome).inc()
        if seconds is not None:
            self._run.observe(seconds)

    def called(self, outcome: CallOutcome, seconds: float) -> None:
        """An LLM call ended."""
        self._calls.labels(outcome).inc()
        self._call_seconds.observe(seconds)

    def show_work(self, slots: int, in_flight: Callable[[], int], taking: Callable[[], bool]) -> None:
        """Show what the worker does at each scrape."""
        self._slots.set(slots)
        self._in_flight.set_function(in_flight)
        self._taking.set_function(lambda: float(taking()))

    def show_budget(self, limit: int | None, left: float) -> None:
        """Show the budget, tokens."""
        self.budget_limit.set(float("inf") if limit is None else limit)
        self.budget_left.set(left)
