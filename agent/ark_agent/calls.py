"""LLM calls within the daily budget: reserve, call, settle.

No call is made without a reservation, and so none while the ledger does not answer. A reservation is always of a full
call (``maxTokensPerCall``); what the input leaves of it is the most that the LLM may write. What a call has cost is
settled when it ends, or together with the end of its task. Where nobody knows what it has cost (cut off, too late,
cancelled), it counts in full: the budget holds whatever the provider bills.

Waiting, for the provider or for other calls' reservations, takes none of the attempt's time, and neither fails it.
Where the wait would be long, the task goes back to its place (`NotNow`) and the worker takes no more until it is over.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from ark_agent.attempt_clock import AttemptClock
from ark_agent.gate import Gate, NotNow
from ark_agent.metrics import AgentMetrics, CallOutcome
from ark_agent.providers import Provider, Reply, Request
from ark_agent.providers.errors import AgentRefused, CallFailed, CallRefused, CallUnclear, ProviderBusy, ProviderError
from ark_taskqueue import Budget, BudgetExceeded, Reservation, Settlement, TaskQueueError, TokenLedger, TokenUsage

RESERVED_MARGIN_SECONDS = 30.0
"""How much longer than a call a reservation lasts."""
LONGEST_WAIT_SECONDS = 30.0
"""A wait beyond this is not sat out with a task in hand."""
_RECHECK_SECONDS = 10.0
"""How often the budget is looked at while it is exceeded: somebody may have raised it, or cleared the ledger."""
_AGENT_REFUSED_SECONDS = 30.0
_PAUSES = (0.1, 2.0)
"""First and longest pause between two attempts to reserve or settle, seconds."""
_BUSY_PAUSES = (1.0, 30.0)
"""The same between two calls of a provider that is busy and does not say for how long."""
_LAST_SECONDS = 2.0
"""What a cancelled call may take to write down its cost."""


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What calls may take."""

    budget: Budget
    seconds: float = 120.0
    """The most that one may last."""


@dataclass(slots=True)
class Spent:
    """What the calls of one task have cost, and what of it is still to be settled."""

    input_tokens: int = 0
    output_tokens: int = 0
    unsettled: Settlement | None = None
    """A call that ends with its task."""


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
    ) -> None:
        """
        Args:
            provider: answers.
            ledger: of the agent.
            limits: budget and time.
            gate: is closed while no call can be made.
            metrics: of this process.
            model: the agent's own; that it is refused is no task's fault.
        """
        self.model = model
        self.problem: str | None = None
        """Why the provider refuses this agent; None since it does not."""
        self._provider = provider
        self._ledger = ledger
        self._limits = limits
        self._gate = gate
        self._metrics = metrics
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
        while True:
            try:
                return await self._once(request, spent, clock, last=last)
            except ProviderBusy as error:
                busy += 1
                first, longest = _BUSY_PAUSES
                backoff = min(longest, first * 2.0 ** min(busy - 1, 10))
                seconds = (backoff if error.retry_after is None else error.retry_after) * random.uniform(1, 1.2)  # noqa: S311
                self._gate.close("provider", seconds)
                waited += seconds
                if seconds > LONGEST_WAIT_SECONDS or waited > self._limits.seconds:
                    raise NotNow(str(error)) from error
                self._log.info("provider is busy, waiting", error=str(error), seconds=round(seconds, 1))
                await self._wait(seconds, clock, str(error))
            except AgentRefused as error:
                if request.model != self.model:
                    raise CallRefused(str(error)) from error  # the task asked for that model
                if self.problem is None:
                    self._log.error("provider refuses this agent, its tasks stay in the queue", error=str(error))
                self.problem = str(error)
                self._gate.close("agent", _AGENT_REFUSED_SECONDS)
                raise NotNow(str(error)) from error

    async def settle(self, settlement: Settlement) -> None:
        """Write down what a call has cost; tries until it is, for as long as the reservation lasts."""
        deadline = time.monotonic() + self._limits.seconds + RESERVED_MARGIN_SECONDS
        pause, longest = _PAUSES
        while True:
            try:
                await self._ledger.settle(settlement.reservation, settlement.input_tokens, settlement.output_tokens)
                return
            except TaskQueueError as error:
                if time.monotonic() + pause > deadline:
                    self._log.error("cost of a call cannot be written down", error=str(error), **_tokens(settlement))
                    return
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)

    async def settle_quickly(self, settlement: Settlement) -> None:
        """Write down what a call has cost, for a task that is being cancelled."""
        try:
            async with asyncio.timeout(_LAST_SECONDS):
                await self.settle(settlement)
        except TimeoutError:
            self._log.error("cost of a call that was cut off cannot be written down", **_tokens(settlement))

    async def _once(self, request: Request, spent: Spent, clock: AttemptClock, *, last: bool) -> Reply:
        reads = await self._count(request)
        writes = self._limits.budget.per_call - reads
        reservation = await self._reserve(clock)
        cost = _Cost(reads, writes)
        began = time.monotonic()
        try:
            reply = await self._made(request, writes, cost)
        except asyncio.CancelledError:
            await self.settle_quickly(self._noted(cost, began, reservation, spent))
            raise
        except Exception:
            await self.settle(self._noted(cost, began, reservation, spent))
            raise
        settlement = self._noted(cost, began, reservation, spent)
        if last:
            spent.unsettled = settlement
        else:
            await self.settle(settlement)
        return reply

    async def _count(self, request: Request) -> int:
        """Answer the tokens of the input, which leave some of a call's for the output."""
        per_call = self._limits.budget.per_call
        try:
            async with asyncio.timeout(self._limits.seconds):
                reads = await self._provider.count(request)
        except TimeoutError as error:
            raise CallFailed(f"the provider did not count the input within {self._limits.seconds:g} s") from error
        if reads >= per_call:
            raise CallRefused(
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
        try:
            async with asyncio.timeout(self._limits.seconds):
                reply = await self._provider.call(request, output_tokens)
        except ProviderError as error:
            if not error.may_be_billed:
                cost.input_tokens = cost.output_tokens = 0
                cost.outcome = "busy" if isinstance(error, ProviderBusy) else "failed"
            raise
        except TimeoutError as error:
            raise CallUnclear(f"no answer from the provider within {self._limits.seconds:g} s") from error
        self.problem = None
        self._gate.open("agent")
        cost.outcome = "answered"
        if reply.input_tokens is None or reply.output_tokens is None:
            self._log.warning("provider does not say what a call has cost, it counts in full")
            return reply
        cost.input_tokens, cost.output_tokens = max(0, reply.input_tokens), max(0, reply.output_tokens)
        if cost.input_tokens + cost.output_tokens > self._limits.budget.per_call:
            self._log.warning("a call has cost more than it was allowed", allowed=self._limits.budget.per_call)
        return reply

    async def _reserve(self, clock: AttemptClock) -> Reservation:
        """Reserve a full call; wait where others' reservations are in the way, or Redis is away."""
        began = time.monotonic()
        pause, longest = _PAUSES
        while True:
            try:
                return await self._ledger.reserve(self._limits.budget, self._limits.seconds + RESERVED_MARGIN_SECONDS)
            except BudgetExceeded as error:
                if not error.passes_soon:
                    self._close_for_budget(error)
                    raise NotNow(str(error)) from error
                why = str(error)
                if time.monotonic() - began > LONGEST_WAIT_SECONDS:
                    self._gate.close("budget", longest)
                    raise NotNow(why) from error
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
        raise NotNow(f"the worker stops while it waits: {why}")


def _tokens(settlement: Settlement) -> dict[str, int]:
    return {"input_tokens": settlement.input_tokens, "output_tokens": settlement.output_tokens}
