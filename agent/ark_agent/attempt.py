"""One attempt at a task: run the handler within its time, and have its end reported."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from ark_agent.attempt_clock import AttemptClock
from ark_agent.bill import Bill
from ark_agent.calls import Calls
from ark_agent.containment import contained
from ark_agent.context import Context, Handler
from ark_agent.failures import NotBuried, NotStorable, TooLate, is_final
from ark_agent.gate import NotNow
from ark_agent.metrics import AgentMetrics
from ark_agent.reporter import Reporter
from ark_agent.tracing import Tracing
from ark_process.exceptions import leaves
from ark_taskqueue import Outcome, Task


@dataclass(eq=False, slots=True)
class Attempt:
    """One attempt, and what has become of it."""

    task: Task
    taken_at: float
    """When the task was taken, by the gate's clock."""
    log: structlog.stdlib.BoundLogger
    job: asyncio.Task[None] | None = None
    clock: AttemptClock | None = None
    """Of its handler; None until that runs."""
    began: float = field(default_factory=time.monotonic)
    in_turn: bool = False
    """Whether it was taken in a turn of lower priorities."""
    is_dropped: bool = False
    """Whether the worker has cancelled it."""
    is_ending: bool = False
    """Whether its end is being reported: the task may be gone already."""
    is_given_up: bool = False
    """Whether its failure is reported though its handler does not end."""

    def is_of(self, task: Task) -> bool:
        """Return whether it is made at this delivery of the task."""
        return (self.task.id, self.task.delivery) == (task.id, task.delivery)

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self.began

    @property
    def is_late(self) -> bool:
        """Whether its time was over."""
        return self.clock is not None and self.clock.is_over

    def over_for(self, now: float) -> float:
        """Return for how many seconds its handler has outlived its time; `now` is the event loop's."""
        return 0.0 if self.clock is None else self.clock.over_for(now)

    def drop(self) -> None:
        """Cancel it; whoever does so says what becomes of the task."""
        self.is_dropped = True
        if self.job is not None:
            self.job.cancel()


class Attempts:
    """Makes the attempts of one worker.

    Args:
        handler: does tasks.
        calls: makes the handler's LLM calls.
        reporter: tells the queue how they ended.
        metrics: of this process.
        tracing: makes their spans.
        task_seconds: the most that one may take.
        most_failures: how often a task may fail.
        system: the agent's system prompt.
    """

    def __init__(
        self,
        handler: Handler,
        calls: Calls,
        reporter: Reporter,
        metrics: AgentMetrics,
        tracing: Tracing,
        *,
        task_seconds: float,
        most_failures: int,
        system: str,
    ) -> None:
        self._handler = handler
        self._calls = calls
        self._reporter = reporter
        self._metrics = metrics
        self._tracing = tracing
        self._task_seconds = task_seconds
        self._most_failures = most_failures
        self._system = system

    def begin(self, task: Task, taken_at: float, log: structlog.stdlib.BoundLogger) -> Attempt:
        """Return a new attempt at a task."""
        return Attempt(task, taken_at, log.bind(task=task.id, attempt=task.attempt))

    async def run(self, attempt: Attempt, worker_ends: Callable[[], bool]) -> None:
        """Run the handler and report the end; a cancelled attempt is left to whoever cancelled it.

        Args:
            attempt: at the task.
            worker_ends: whether the worker itself is cancelled.
        """
        task = attempt.task
        attempt.began = time.monotonic()
        if task.delivery > self._most_failures:
            problem = NotBuried("it used up its attempts, and could not be moved to the dead letters")
            await self._reporter.failed(attempt, problem)
            return
        clock = attempt.clock = AttemptClock(self._task_seconds)
        bill = self._calls.reserving.debts.bill()
        context = Context(task, self._calls, bill, clock, system=self._system)
        self._metrics.started(task.waited_ms / 1000)
        try:
            with self._tracing.attempt(task) as span:
                try:
                    async with clock:
                        outcome = await contained(
                            lambda: self._handler(context),
                            lambda answer: _outcome(answer, bill),
                            lambda: attempt.is_dropped or worker_ends(),
                        )
                    attempt.is_ending = True
                    await self._reporter.completed(attempt, bill, outcome)
                except Exception as error:
                    if attempt.is_dropped:
                        raise asyncio.CancelledError from error  # what a handler says when it is broken off
                    span.failed(error)
                    await self._unfinished(attempt, error, answered=bill.answered)
        finally:
            bill.close()

    async def too_late(self, attempt: Attempt) -> None:
        """Report an attempt whose time is over, whether its handler has ended or not."""
        await self._reporter.failed(attempt, TooLate(f"no answer within {self._task_seconds:g} s"))

    async def _unfinished(self, attempt: Attempt, error: Exception, *, answered: bool) -> None:
        """Say why a task was not done; what several calls at a time have raised counts by its gravest.

        Args:
            attempt: at the task.
            error: what ended it.
            answered: whether the provider has answered a call of it.
        """
        causes = list(leaves(error))
        not_now = next((cause for cause in causes if isinstance(cause, NotNow)), None)
        if attempt.is_late:
            await self.too_late(attempt)
        elif not_now is not None:
            await self._reporter.not_now(attempt, not_now, answered=answered)
        else:
            final = [cause for cause in causes if is_final(cause)]
            await self._reporter.failed(attempt, (final or causes)[0])


def _outcome(answer: object, bill: Bill) -> Outcome:
    """Return a handler's answer as it is stored.

    Raises:
        NotStorable: it is neither text nor anything that JSON can hold.
    """
    try:
        # A subclass of str may be anything but a text when it is encoded.
        output = str.__str__(answer) if isinstance(answer, str) else json.dumps(answer, allow_nan=False)
    except Exception as error:  # JSON's own, or any that a user's class raises while it is written
        kind = type(answer).__name__
        raise NotStorable(f"the handler returned a {kind} that JSON cannot hold: return text or JSON values") from error
    return Outcome(output, bill.input_tokens, bill.output_tokens, bill.stop)
