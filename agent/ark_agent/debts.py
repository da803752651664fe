"""What LLM calls have cost and is not in the ledger yet.

A cost that is known is never dropped: it is owed from the moment its call ends, without an await in between, and paid
when Redis takes it, however the task of that call ends and however long Redis is away.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import structlog

from ark_agent.bill import Bill
from ark_process.backoff import Backoff
from ark_taskqueue import Settlement, TaskQueueError, TokenLedger

_BACKOFF = Backoff(first=0.1, longest=2.0)


class Debts:
    """The settlements that one worker owes its ledger.

    Args:
        ledger: of the agent.
    """

    def __init__(self, ledger: TokenLedger) -> None:
        self._ledger = ledger
        self._owed: list[Settlement] = []
        self._something = asyncio.Event()
        self._paying = asyncio.Lock()
        self._log = structlog.get_logger(component="debts")

    def __len__(self) -> int:
        return len(self._owed)

    def bill(self) -> Bill:
        """Return a new attempt's bill."""
        return Bill(self.owe)

    def owe(self, settlement: Settlement) -> None:
        """Take what a call has cost; `run` pays it, if `pay` does not."""
        self._owed.append(settlement)
        self._something.set()

    async def pay(self) -> None:
        """Pay all that is owed.

        Raises:
            RedisUnavailable, RedisRefused: the rest is still owed.
        """
        async with self._paying:  # each once: after a reservation's end a second payment would count twice
            while self._owed:
                owed = self._owed[0]
                self._owed[0] = replace(owed, again=True)
                await self._ledger.settle(owed.reservation, owed.input_tokens, owed.output_tokens, again=owed.again)
                self._owed.pop(0)
            self._something.clear()

    async def run(self) -> None:
        """Pay whatever is owed, until cancelled."""
        failures = 0
        while True:
            await self._something.wait()
            try:
                await self.pay()
                failures = 0
            except TaskQueueError as error:
                self._log.warning(
                    "cost of calls cannot be written down, trying again", calls=len(self), error=str(error)
                )
                failures += 1
                await asyncio.sleep(_BACKOFF.pause(failures))

    async def pay_at_last(self, seconds: float) -> None:
        """Pay within so many seconds: the worker ends, and what is owed then is lost."""
        failures = 0
        try:
            async with asyncio.timeout(seconds):
                while self._owed:
                    try:
                        await self.pay()
                    except TaskQueueError:
                        failures += 1
                        await asyncio.sleep(_BACKOFF.pause(failures))
        except TimeoutError:
            tokens = sum(owed.input_tokens + owed.output_tokens for owed in self._owed)
            self._log.error("cost of calls was never written down", calls=len(self), tokens=tokens)
