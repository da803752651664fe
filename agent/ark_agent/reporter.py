"""Tells the queue how attempts ended, until Redis takes it or the lease is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import structlog

from ark_agent.bill import Bill
from ark_agent.failures import NotStorable, full, is_final, shown
from ark_agent.gate import Gate, NotNow, Postponed, RefusedForNow
from ark_agent.metrics import AgentMetrics
from ark_agent.providers.errors import CallRefused
from ark_process.backoff import Backoff
from ark_taskqueue import Consumer, Counting, Ended, Outcome, RedisRefused, RedisUnavailable, Task, TaskQueueError

_LONGEST_TEXT = 4000
"""Characters of an error that a dead letter keeps."""
_NOT_NOW_SECONDS = 1.0
"""How long no task is taken after a handler of the user's own has said that one cannot be done now."""
_BACKOFF = Backoff(first=0.1, longest=2.0)

_T = TypeVar("_T")


class Ending(Protocol):
    """An attempt whose end is reported."""

    @property
    def task(self) -> Task:
        """The delivery."""

    @property
    def seconds(self) -> float:
        """How long the attempt has taken so far."""

    @property
    def log(self) -> structlog.stdlib.BoundLogger:
        """Says which task it is about."""


class Reporter:
    """Reports the ends of one worker's tasks.

    Args:
        consumer: tells the queue.
        gate: is closed for a moment where a handler says that a task cannot be done now.
        metrics: of this process.
        scrub: takes known secrets out of an error before it is stored.
        log_texts: whether logs may have errors' full texts, which may quote prompts.
    """

    def __init__(
        self,
        consumer: Consumer,
        gate: Gate,
        metrics: AgentMetrics,
        scrub: Callable[[str], str],
        *,
        log_texts: bool,
    ) -> None:
        self._consumer = consumer
        self._gate = gate
        self._metrics = metrics
        self._scrub = scrub
        self._log_texts = log_texts

    def loggable(self, error: BaseException) -> str:
        """Return what logs may say of an error."""
        return full(error) if self._log_texts else shown(error)

    async def completed(self, attempt: Ending, bill: Bill, outcome: Outcome) -> None:
        """Report a task that was done, and settle its last call in the same step."""
        seconds = attempt.seconds

        async def complete() -> bool:
            try:
                return await self._consumer.complete(
                    attempt.task, outcome, seconds, bill.last(), answered=bill.answered
                )
            except RedisRefused as error:  # as would be the next attempt's, which would be paid for again
                raise NotStorable(f"the result cannot be stored: {error}") from error

        completed = await self._insist(complete, attempt.log)
        if completed is None:
            return
        bill.settled()
        self._metrics.ended("completed" if completed else "lost", seconds)
        if completed:
            attempt.log.debug("task completed", service_seconds=round(seconds, 3), waited_ms=attempt.task.waited_ms)
        else:
            attempt.log.warning(
                "task was done but was cancelled, or is another worker's now: result dropped", service_seconds=seconds
            )

    async def failed(self, attempt: Ending, cause: BaseException) -> None:
        """Report a failure: the task is tried again, or becomes a dead letter."""
        text = self._stored(cause)

        async def fail() -> Ended:
            if isinstance(cause, CallRefused):  # noted as a refusal: it may turn out to be one of many
                return await self._consumer.refuse(attempt.task, text, "always")
            return await self._consumer.fail(attempt.task, text, final=is_final(cause))

        ended = await self._insist(fail, attempt.log)
        self._count(attempt, ended)
        attempt.log.warning("task failed", error=self.loggable(cause), ended=ended.outcome if ended else "unknown")

    async def not_now(self, attempt: Ending, why: NotNow, *, answered: bool) -> None:
        """Report a task that cannot be done now.

        Args:
            attempt: at the task.
            why: it cannot.
            answered: whether the provider has answered a call of it.
        """
        if isinstance(why, Postponed):
            lost = await self._insist(lambda: self._consumer.give_back([attempt.task]), attempt.log)
            if lost is not None:
                self._metrics.ended("lost" if lost else "given_back")
                attempt.log.info("task given back", why=str(why))
            return
        cause: BaseException = why
        counts: Counting = "never"
        if isinstance(why, RefusedForNow):
            # A provider that takes the task's first call and not its second would be paid for the first for ever.
            counts = ("always" if answered else "proved") if why.may_count else "noted"
            cause = why.__cause__ or why
        elif self._gate.seconds == 0:
            self._gate.close("handler", _NOT_NOW_SECONDS)  # else it would be taken again at once, and so on
        text = self._stored(cause)
        ended = await self._insist(lambda: self._consumer.refuse(attempt.task, text, counts), attempt.log)
        self._count(attempt, ended)
        attempt.log.info("task refused", why=self.loggable(why), ended=ended.outcome if ended else "unknown")

    async def give_back(self, tasks: Sequence[Task], log: structlog.stdlib.BoundLogger) -> None:
        """Give tasks back untouched, as far as Redis takes it now."""
        if not tasks:
            return
        try:
            lost = await self._consumer.give_back(tasks)
        except TaskQueueError as error:
            log.error("tasks cannot be given back, others get them after the lease", error=str(error))
        else:
            for task in tasks:
                self._metrics.ended("lost" if task.id in lost else "given_back")
            log.info("tasks given back", tasks=len(tasks) - len(lost))

    def _stored(self, error: BaseException) -> str:
        """Return what a dead letter says of an error: without known keys, and then shortened."""
        return self._scrub(full(error))[:_LONGEST_TEXT]

    def _count(self, attempt: Ending, ended: Ended | None) -> None:
        if ended is None:
            return
        self._metrics.letters_dropped.inc(ended.dropped)
        if ended.outcome == "refused":
            self._metrics.ended("given_back")
        else:
            self._metrics.ended("retried" if ended.outcome == "retry" else ended.outcome, attempt.seconds)

    async def _insist(self, report: Callable[[], Awaitable[_T]], log: structlog.stdlib.BoundLogger) -> _T | None:
        """Report the end of a task until Redis takes it; None when it did not for as long as a lease lasts."""
        deadline = time.monotonic() + self._consumer.leases.seconds
        failures = 0
        while True:
            try:
                return await report()
            except RedisUnavailable as error:
                failures += 1
                if time.monotonic() + _BACKOFF.pause(failures) > deadline:
                    log.error("cannot report the task's outcome, it will be done again", error=str(error))
                    return None
                log.warning("cannot report the task's outcome, trying again", error=str(error))
            except TaskQueueError as error:
                log.error("Redis refused the task's outcome, it will be done again", error=str(error))
                return None
            await asyncio.sleep(_BACKOFF.pause(failures))
