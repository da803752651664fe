"""LLM calls within the daily budget: reserve, call, settle.

What the input leaves of a reservation (`ark_agent.reserving`) is the most that the LLM may write. What a call has cost
is settled when it ends, or together with the end of its task. Where nobody knows what it has cost (cut off, too late,
cancelled), it counts in full: the budget holds whatever the provider bills.

Waiting for the provider takes none of the attempt's time, and does not fail it. Where the wait would be long, the task
goes back to its place (`NotNow`) and the worker takes no more until it is over.

A provider that refuses leaves open whether the agent or the task is to blame, whatever its status says: routers answer
402 and 403 for single prompts. So such a task goes back as well (`RefusedForNow`), is offered last, and it costs an
attempt only where tasks that were begun later were completed (``refuse.lua``). What surely is the input's fault
(`InputRefused`) says nothing of other tasks.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field

import structlog

from ark_agent.attempt_clock import AttemptClock
from ark_agent.bill import Bill
from ark_agent.gate import Gate, RefusedForNow
from ark_agent.metrics import AgentMetrics, CallOutcome
from ark_agent.providers import Estimate, Provider, Reply, Request
from ark_agent.providers.errors import (
    TOOL_STOPS,
    AgentRefused,
    CallFailed,
    CallRefused,
    CallUnclear,
    InputRefused,
    ProviderBusy,
    ProviderError,
    no_text,
)
from ark_agent.providers.usage import MOST_TOKENS
from ark_agent.reserving import CallLimits, Reserving
from ark_agent.tracing import Tracing
from ark_process.backoff import Backoff
from ark_taskqueue import CLEAN_STOPS, Settlement

_BUSY = Backoff(first=1.0, longest=30.0)
"""Between two calls of a provider that is busy and does not say for how long."""
_LEAST_BUSY = Backoff(first=0.1, longest=30.0)
"""The same, at least, where it says how long: some say 0."""
_LONGEST_BUSY_SECONDS = 300.0
"""However long a provider asks to stay away, it is asked again after this."""
_REFUSED_IN_A_ROW = 3
"""So many tasks in a row are hardly refused for what each of them asks."""


@dataclass(slots=True)
class _Cost:
    """Of one call: its worst until more is known."""

    input_tokens: int
    output_tokens: int
    outcome: CallOutcome = field(default="unclear")


class Calls:
    """Makes the calls of one worker.

    Args:
        provider: answers.
        reserving: reserves their tokens.
        limits: budget and time.
        gate: is closed while no call can be made.
        metrics: of this process.
        model: the agent's own; that it is refused is no task's fault.
        tracing: makes the calls' spans; none where None.
    """

    def __init__(
        self,
        provider: Provider,
        reserving: Reserving,
        limits: CallLimits,
        gate: Gate,
        metrics: AgentMetrics,
        model: str,
        tracing: Tracing | None = None,
    ) -> None:
        self._tracing = tracing or Tracing()
        self.model = model
        self.problem: str | None = None
        """Why the provider refuses this agent; None since it does not."""
        self._provider = provider
        self.reserving = reserving
        """Reserves their tokens."""
        self._limits = limits
        self._gate = gate
        self._metrics = metrics
        self._refused_in_a_row = 0
        self._log = structlog.get_logger(component="calls")

    async def call(self, request: Request, bill: Bill, clock: AttemptClock, *, last: bool = False) -> Reply:
        """Make a call.

        Args:
            request: what is asked.
            bill: is told what it has cost.
            clock: of the task's attempt.
            last: whether the call is settled with the end of its task, which follows at once.

        Raises:
            NotNow: it cannot be made for now.
            ProviderError: there is no answer.
        """
        waited, busy = 0.0, 0
        tried_alone = request.task.refused and self._gate.probing
        while True:
            try:
                return await self._once(request, bill, clock, last=last)
            except ProviderBusy as error:
                busy += 1
                seconds = _busy_seconds(error, busy) * random.uniform(1, 1.2)  # noqa: S311 - no secret
                waited += seconds
                long = self.reserving.is_long(waited)
                if long or (self._gate.probing and not request.task.refused):
                    self._gate.refused(busy=True)
                    # A rate limit refuses whom it will while there are others; tried again one at a time, when nothing
                    # else waits, they get through.
                    raise RefusedForNow(str(error), may_count=long and tried_alone) from error
                self._gate.close("provider", seconds)
                self._log.info("provider is busy, waiting", error=str(error), seconds=round(seconds, 1))
                await self.reserving.wait(seconds, clock, str(error))
            except AgentRefused as error:
                if error.about_model and request.model != self.model:
                    raise InputRefused(str(error), error.detail) from error  # the task asked for that model
                self._refused(str(error))
                raise RefusedForNow(str(error)) from error
            except CallRefused as error:
                self._refused_in_a_row += 1
                if self._refused_in_a_row < _REFUSED_IN_A_ROW:
                    raise
                self._refused(str(error))
                raise RefusedForNow(str(error)) from error

    def _refused(self, problem: str) -> None:
        """Try one task at a time from now on: it may be that none can be done."""
        if self.problem is None:
            self._log.error("provider refuses this agent's calls, its tasks stay in the queue", error=problem)
        self.problem = problem
        self._gate.refused(busy=False)

    async def _once(self, request: Request, bill: Bill, clock: AttemptClock, *, last: bool) -> Reply:
        reads = await self._reads(request)
        writes = min(self._limits.budget.per_call - reads, self._limits.output_tokens or self._limits.budget.per_call)
        reservation = await self.reserving.reserve(clock)
        cost = _Cost(reads, writes)
        began = time.monotonic()
        answered = False
        try:
            reply = await self._made(request, writes, cost)
            answered = bill.answered = True
        finally:
            self._count(cost, time.monotonic() - began)
            settlement = Settlement(reservation, cost.input_tokens, cost.output_tokens)
            bill.charge(settlement, with_task=answered and last)
        bill.stop = reply.stop
        if not last:
            await self.reserving.pay(clock)
        return reply

    async def _reads(self, request: Request) -> int:
        """Return the tokens of the input, which leave some of a call's for the output."""
        per_call = self._limits.budget.per_call
        reads = await self._provider.count(request)
        if reads >= per_call and isinstance(reads, Estimate):
            raise CallFailed(
                f"the input could not be counted, and its estimate of {reads} tokens leaves no room for output in a "
                f"call of {per_call}"
            )
        if reads >= per_call:
            raise InputRefused(
                f"the input has {reads} tokens, and a call may have {per_call}, input and output together: shorten it, "
                "or raise limits.maxTokensPerCall (AGENT_MAX_TOKENS)"
            )
        return reads

    def _count(self, cost: _Cost, seconds: float) -> None:
        """Count a call that ended."""
        self._metrics.called(cost.outcome, seconds)
        self._metrics.tokens.labels("input").inc(cost.input_tokens)
        self._metrics.tokens.labels("output").inc(cost.output_tokens)

    async def _made(self, request: Request, output_tokens: int, cost: _Cost) -> Reply:
        """Make the call and find out what it has cost."""
        began = self._gate.now()
        try:
            with self._tracing.call(request, output_tokens) as span:
                async with asyncio.timeout(self._limits.seconds):
                    reply = await self._provider.call(request, output_tokens)
                span.answered(reply)
        except ProviderError as error:
            if not error.may_be_billed:
                cost.input_tokens = cost.output_tokens = 0
                cost.outcome = "busy" if isinstance(error, ProviderBusy) else "failed"
            raise
        except TimeoutError as error:
            raise CallUnclear(f"no answer from the provider within {self._limits.seconds:g} s") from error
        self.problem = None
        self._refused_in_a_row = 0
        self._gate.answered(began)
        cost.outcome = "answered"
        self._book(reply, cost)
        if not reply.text and reply.stop not in CLEAN_STOPS | TOOL_STOPS:
            raise no_text(reply.stop)
        return reply

    def _book(self, reply: Reply, cost: _Cost) -> None:
        """Take what the provider says a call has cost for true, where it can be; else it counts in full."""
        counts = (reply.input_tokens, reply.output_tokens)
        if any(count is None or not 0 <= count <= MOST_TOKENS for count in counts):
            self._log.warning("provider did not report a call's token usage, counting it in full", said=counts)
            least = max(reply.least_tokens, sum(count for count in counts if count and 0 < count <= MOST_TOKENS))
            cost.output_tokens = max(cost.output_tokens, min(least, MOST_TOKENS) - cost.input_tokens)
            return
        cost.input_tokens, cost.output_tokens = counts[0] or 0, counts[1] or 0
        if cost.input_tokens + cost.output_tokens > self._limits.budget.per_call:
            self._log.warning("a call has cost more than it was allowed", allowed=self._limits.budget.per_call)


def _busy_seconds(error: ProviderBusy, times: int) -> float:
    """Return how long to stay away from a provider that was busy so many times in a row."""
    least = (_BUSY if error.retry_after is None else _LEAST_BUSY).pause(times)
    return min(_LONGEST_BUSY_SECONDS, max(least, error.retry_after or 0.0))
