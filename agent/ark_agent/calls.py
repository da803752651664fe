"""LLM calls within the daily budget: reserve, call, settle.

No call is made without a reservation, and so none while the ledger does not answer. A reservation is always of a full
call (``maxTokensPerCall``); what the input leaves of it is the most that the LLM may write. What a call has cost is
settled when it ends, or together with the end of its task. Where nobody knows what it has cost (cut off, too late,
cancelled), it counts in full: the budget holds whatever the provider bills.

Waiting, for the provider or for other calls' reservations, takes none of the attempt's time, and neither fails it.
Where the wait would be long, the task goes back to its place (`NotNow`) and the worker takes no more until it is over.

A provider that refuses leaves open whether the agent or the task is to blame, whatever its status says: routers answer
402 and 403 for single prompts. So such a task goes back as well (`RefusedForNow`), is offered last, and it costs an
attempt only where tasks that were begun later were completed (``refuse.lua``). What surely is the input's fault
(`InputRefused`) says nothing of other tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from ark_agent.attempt_clock import AttemptClock
from ark_agent.debts import Debts
from ark_agent.gate import Gate, Postponed, RefusedForNow
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
from ark_agent.tracing import Tracing
from ark_taskqueue import (
    CLEAN_STOPS,
    Budget,
    BudgetExceeded,
    Reservation,
    Settlement,
    TaskQueueError,
    TokenLedger,
    TokenUsage,
)

RESERVED_MARGIN_SECONDS = 120.0
"""How much longer than a call a reservation lasts: an outage of Redis of this length frees no room that is spent."""
LONGEST_WAIT_SECONDS = 30.0
"""A wait beyond this is not sat out with a task in hand."""
_RECHECK_SECONDS = 10.0
"""How often the budget is looked at while it is exceeded: somebody may have raised it, or cleared the ledger."""
_PAUSES = (0.1, 2.0)
"""First and longest pause between two attempts to reserve or settle, seconds."""
_BUSY_PAUSES = (1.0, 30.0)
"""The same between two calls of a provider that is busy and does not say for how long."""
_LEAST_BUSY_PAUSES = (0.1, 30.0)
"""The same, at least, where it says how long: some say 0."""
_LONGEST_BUSY_SECONDS = 300.0
"""However long a provider asks to stay away, it is asked again after this."""
_REFUSED_IN_A_ROW = 3
"""So many tasks in a row are hardly refused for what each of them asks."""


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What calls may take."""

    budget: Budget
    seconds: float = 120.0
    """The most that one may last."""
    margin_seconds: float = RESERVED_MARGIN_SECONDS
    """How much longer its reservation lasts."""
    output_tokens: int | None = None
    """The most that the LLM may write; None for whatever the input leaves of a call."""


@dataclass(slots=True)
class Spent:
    """What the calls of one task have cost, and what of it is still to be settled."""

    input_tokens: int = 0
    output_tokens: int = 0
    stop: str = ""
    """Why the LLM stopped in the last call."""
    unsettled: Settlement | None = None
    """A call that ends with its task: its cost is written down in the same step."""
    answered: bool = False
    """Whether the provider has answered a call."""
    over: bool = False
    """Whether the task's end is being reported: what a call of it costs from now on is not settled with it."""

    def keep(self, settlement: Settlement) -> Settlement | None:
        """Settle a call with its task; return the one that is to be settled by itself instead.

        There is room for one. Of calls that run at the same time it is the one that ends last.
        """
        if self.over:
            return settlement
        earlier, self.unsettled = self.unsettled, settlement
        return earlier

    def end(self) -> Settlement | None:
        """Return the call that is to be settled with the task, which ends now."""
        self.over = True
        last, self.unsettled = self.unsettled, None
        return last


@dataclass(slots=True)
class _Cost:
    """Of one call: its worst until more is known."""

    input_tokens: int
    output_tokens: int
    outcome: CallOutcome = field(default="unclear")


class Calls:
    """Makes the calls of one worker."""

    def __init__(
        self,
        provider: Provider,
        ledger: TokenLedger,
        limits: CallLimits,
        gate: Gate,
        metrics: AgentMetrics,
        model: str,
        tracing: Tracing | None = None,
    ) -> None:
        """
        Args:
            provider: answers.
            ledger: of the agent.
            limits: budget and time.
            gate: is closed while no call can be made.
            metrics: of this process.
            model: the agent's own; that it is refused is no task's fault.
            tracing: makes the calls' spans; none where None.
        """
        self._tracing = tracing or Tracing()
        self.model = model
        self.problem: str | None = None
        """Why the provider refuses this agent; None since it does not."""
        self._provider = provider
        self._ledger = ledger
        self._limits = limits
        self._gate = gate
        self._metrics = metrics
        self.debts = Debts(ledger)
        self._refused_in_a_row = 0
        self._stopping = asyncio.Event()
        self._log = structlog.get_logger(component="calls")

    def stop(self) -> None:
        """Wait for nothing any more: what would have to wait goes back to its place."""
        self._stopping.set()

    async def usage(self) -> TokenUsage:
        """Answer what is spent, and open or close the gate by it.

        Raises:
            RedisUnavailable, RedisRefused: it is not known.
        """
        usage = await self._ledger.usage(self._limits.budget)
        if usage.exceeded:
            self._gate.close("budget", _RECHECK_SECONDS if usage.seconds is None else usage.seconds)
        else:
            self._gate.open("budget")
        return usage

    async def until_open(self, pause: Callable[[float], Awaitable[None]]) -> bool:
        """Wait a while where no call can be made; answer False when there is more to wait.

        Args:
            pause: sleeps for so many seconds, or less where the worker is to stop.

        Raises:
            RedisUnavailable, RedisRefused: it is not known whether a call can be made.
        """
        if self._gate.seconds > 0:
            was_exceeded = self._gate.closed("budget")
            await pause(min(self._gate.seconds, _RECHECK_SECONDS))
            if was_exceeded:
                await self.usage()
        return self._gate.seconds == 0

    async def call(self, request: Request, spent: Spent, clock: AttemptClock, *, last: bool = False) -> Reply:
        """Make a call.

        Args:
            request: what is asked.
            spent: is told what it has cost.
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
                return await self._once(request, spent, clock, last=last)
            except ProviderBusy as error:
                busy += 1
                seconds = _busy_seconds(error, busy) * random.uniform(1, 1.2)  # noqa: S311 - no secret
                waited += seconds
                long = waited > LONGEST_WAIT_SECONDS
                if long or (self._gate.probing and not request.task.refused):
                    self._gate.refused(busy=True)
                    # A rate limit refuses whom it will while there are others; tried again one at a time, when nothing
                    # else waits, they get through.
                    raise RefusedForNow(str(error), may_count=long and tried_alone) from error
                self._gate.close("provider", seconds)
                self._log.info("provider is busy, waiting", error=str(error), seconds=round(seconds, 1))
                await self._wait(seconds, clock, str(error))
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

    async def pay(self, clock: AttemptClock | None = None) -> None:
        """Write down what calls have cost, as far as Redis takes it now; the rest is tried again beside the work."""
        with contextlib.nullcontext() if clock is None else clock.paused(), contextlib.suppress(TaskQueueError):
            await self.debts.pay()

    async def _once(self, request: Request, spent: Spent, clock: AttemptClock, *, last: bool) -> Reply:
        reads = await self._count(request)
        writes = min(self._limits.budget.per_call - reads, self._limits.output_tokens or self._limits.budget.per_call)
        reservation = await self._reserve(clock)
        cost = _Cost(reads, writes)
        began = time.monotonic()
        answered = False
        try:
            reply = await self._made(request, writes, cost)
            answered = spent.answered = True
        finally:
            settlement = self._noted(cost, began, reservation, spent)
            alone = spent.keep(settlement) if answered and last else settlement
            if alone is not None:
                self.debts.owe(alone)
        spent.stop = reply.stop
        if not last:
            await self.pay(clock)
        return reply

    async def _count(self, request: Request) -> int:
        """Return the tokens of the input, which leave some of a call's for the output."""
        per_call = self._limits.budget.per_call
        reads = await self._provider.count(request)
        if reads >= per_call and isinstance(reads, Estimate):
            raise CallFailed(
                f"the input could not be counted this time, and its estimate of {reads} tokens leaves nothing of a "
                f"call's {per_call}"
            )
        if reads >= per_call:
            raise InputRefused(
                f"the input has {reads} tokens, and a call may have {per_call}, input and output together: shorten it, "
                "or raise limits.maxTokensPerCall (AGENT_MAX_TOKENS)"
            )
        return reads

    def _noted(self, cost: _Cost, began: float, reservation: Reservation, spent: Spent) -> Settlement:
        """Count a call that ended."""
        self._metrics.called(cost.outcome, time.monotonic() - began)
        self._metrics.tokens.labels("input").inc(cost.input_tokens)
        self._metrics.tokens.labels("output").inc(cost.output_tokens)
        spent.input_tokens += cost.input_tokens
        spent.output_tokens += cost.output_tokens
        return Settlement(reservation, cost.input_tokens, cost.output_tokens)

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
            self._log.warning("provider does not say what a call has cost, it counts in full", said=counts)
            least = max(reply.least_tokens, sum(count for count in counts if count and 0 < count <= MOST_TOKENS))
            cost.output_tokens = max(cost.output_tokens, min(least, MOST_TOKENS) - cost.input_tokens)
            return
        cost.input_tokens, cost.output_tokens = counts[0] or 0, counts[1] or 0
        if cost.input_tokens + cost.output_tokens > self._limits.budget.per_call:
            self._log.warning("a call has cost more than it was allowed", allowed=self._limits.budget.per_call)

    async def _reserve(self, clock: AttemptClock) -> Reservation:
        """Reserve a full call; wait where others' reservations are in the way, or Redis is away.

        None of it takes the attempt's time. What this worker owes is paid first: it may have had that room before.
        """
        began = time.monotonic()
        pause, longest = _PAUSES
        while True:
            try:
                with clock.paused():
                    await self.debts.pay()
                    return await self._ledger.reserve(
                        self._limits.budget, self._limits.seconds + self._limits.margin_seconds
                    )
            except BudgetExceeded as error:
                if not error.passes_soon:
                    self._close_for_budget(error)
                    raise Postponed(str(error)) from error
                why = str(error)
                if time.monotonic() - began > LONGEST_WAIT_SECONDS:
                    self._gate.close("budget", longest)
                    raise Postponed(why) from error
            except TaskQueueError as error:
                # Without the ledger there is no call, and without Redis nothing else to do with the task.
                why = str(error)
                self._log.warning("tokens cannot be reserved, trying again", error=why)
            await self._wait(pause * random.uniform(0.5, 1), clock, why)  # noqa: S311 - no secret
            pause = min(2 * pause, longest)

    def _close_for_budget(self, error: BudgetExceeded) -> None:
        seconds = _RECHECK_SECONDS if error.seconds is None else error.seconds
        if not self._gate.closed("budget"):
            self._log.warning("daily token limit is reached, no more tasks are taken", error=str(error))
        self._gate.close("budget", seconds)

    async def _wait(self, seconds: float, clock: AttemptClock, why: str) -> None:
        """Wait outside of the attempt's time.

        Raises:
            NotNow: the worker is to stop.
        """
        with clock.paused():
            try:
                async with asyncio.timeout(seconds):
                    await self._stopping.wait()
            except TimeoutError:
                return
        raise Postponed(f"the worker stops while it waits: {why}")


def _busy_seconds(error: ProviderBusy, times: int) -> float:
    """Answer how long to stay away from a provider that was busy so many times in a row."""
    first, longest = _BUSY_PAUSES if error.retry_after is None else _LEAST_BUSY_PAUSES
    backoff = min(longest, first * 2.0 ** min(times - 1, 10))
    return min(_LONGEST_BUSY_SECONDS, max(backoff, error.retry_after or 0.0))
