"""Room for calls within the daily budget: reserved before each call, and waited for where that is worth it.

No call is made without a reservation, and so none while the ledger does not answer. A reservation is always of a full
call (``maxTokensPerCall``). Waiting for other calls' reservations, or for Redis, takes none of the attempt's time.
Where the wait would be long, the task goes back to its place (`Postponed`) and the worker takes no more until it is
over.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from ark_agent.attempt_clock import AttemptClock
from ark_agent.debts import Debts
from ark_agent.gate import Gate, Postponed
from ark_process.backoff import Backoff
from ark_taskqueue import Budget, BudgetExceeded, Reservation, TaskQueueError, TokenLedger, TokenUsage

RESERVED_MARGIN_SECONDS = 120.0
"""How much longer than a call a reservation lasts: an outage of Redis of this length frees no room that is spent."""
LONGEST_WAIT_SECONDS = 30.0
"""A wait beyond this is not sat out with a task in hand."""
_RECHECK_SECONDS = 10.0
"""How often the budget is looked at while it is exceeded: somebody may have raised it, or cleared the ledger."""
_BACKOFF = Backoff(first=0.1, longest=2.0, jitter=(0.5, 1.0))


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


class Reserving:
    """Reserves for the calls of one worker.

    Args:
        ledger: of the agent.
        limits: budget and time.
        gate: is closed while the budget is exceeded.
    """

    def __init__(self, ledger: TokenLedger, limits: CallLimits, gate: Gate) -> None:
        self.debts = Debts(ledger)
        self._ledger = ledger
        self._limits = limits
        self._gate = gate
        self._stopping = asyncio.Event()
        self._log = structlog.get_logger(component="calls")

    def stop(self) -> None:
        """Wait for nothing any more: what would have to wait goes back to its place."""
        self._stopping.set()

    async def usage(self) -> TokenUsage:
        """Return what is spent, and open or close the gate by it.

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
        """Wait a while where no call can be made; return False when there is more to wait.

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

    @staticmethod
    def is_long(seconds: float) -> bool:
        """Return whether a wait is too long to be sat out with a task in hand."""
        return seconds > LONGEST_WAIT_SECONDS

    async def reserve(self, clock: AttemptClock) -> Reservation:
        """Reserve a full call; wait where others' reservations are in the way, or Redis is away.

        None of it takes the attempt's time. What this worker owes is paid first: it may have had that room before.

        Raises:
            Postponed: the budget is exceeded for longer, or the worker is to stop.
        """
        began = time.monotonic()
        tries = 0
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
                if self.is_long(time.monotonic() - began):
                    self._gate.close("budget", _BACKOFF.longest)
                    raise Postponed(why) from error
            except TaskQueueError as error:
                # Without the ledger there is no call, and without Redis nothing else to do with the task.
                why = str(error)
                self._log.warning("tokens cannot be reserved, trying again", error=why)
            tries += 1
            await self.wait(_BACKOFF.pause(tries), clock, why)

    async def pay(self, clock: AttemptClock | None = None) -> None:
        """Write down what calls have cost, as far as Redis takes it now; the rest is tried again beside the work."""
        with contextlib.nullcontext() if clock is None else clock.paused(), contextlib.suppress(TaskQueueError):
            await self.debts.pay()

    def _close_for_budget(self, error: BudgetExceeded) -> None:
        seconds = _RECHECK_SECONDS if error.seconds is None else error.seconds
        if not self._gate.closed("budget"):
            self._log.warning("daily token limit is reached, no more tasks are taken", error=str(error))
        self._gate.close("budget", seconds)

    async def wait(self, seconds: float, clock: AttemptClock, why: str) -> None:
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
