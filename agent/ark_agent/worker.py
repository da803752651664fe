"""Work on a queue's tasks, a few at a time, until told to stop.

What a task is done by is a handler (`ark_agent.context`); what it costs is `ark_agent.calls`'.

Four things happen side by side: tasks are fetched when there is a free slot, each is worked on in a task of its own,
leases are renewed, and what other workers left behind is reclaimed. On stop no more is fetched, what runs may finish
within the grace period, and the rest is given back; then the consumer is removed.

Redis may be away for a while at any of these points: fetching, renewing and reclaiming try again, and the end of a
task is reported again until its lease is over. A task is never lost by that, at worst it is done a second time, and
then only the one that still holds it may complete it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import structlog

from ark_agent.attempt_clock import AttemptClock
from ark_agent.calls import Calls
from ark_agent.context import Context, Handler, Rejected
from ark_agent.gate import Gate, NotNow
from ark_agent.metrics import AgentMetrics
from ark_agent.providers.errors import CallRefused
from ark_agent.tracing import Tracing
from ark_taskqueue import Consumer, Outcome, RedisUnavailable, Task, TaskQueueError

_WAIT_SECONDS = 1.0
"""How long one wait for new tasks lasts: so soon are given back tasks, and a stop, noticed."""
_RECLAIM_SECONDS = 1.0
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
_RETIRE_SECONDS = 2.0
_NOT_NOW_SECONDS = 1.0
"""How long no task is taken after a handler of the user's own has said that one cannot be done now."""
_CANCEL_SECONDS = 5.0
"""What a cancelled task may take to end before it is given back all the same."""
_LAST_PAYMENT_SECONDS = 5.0

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class WorkLimits:
    """What a worker may take on."""

    concurrent_tasks: int = 5
    task_seconds: float = 120.0
    """The most that one attempt may take."""
    grace_seconds: float = 25.0
    """How long running tasks may take to end after a stop."""


class HandlerCancelled(Exception):
    """A handler ended with a cancellation that was not the worker's."""


class _Attempt:
    """One attempt at a task, for reports of its end."""

    __slots__ = ("_began", "log", "task")

    def __init__(self, task: Task, log: structlog.stdlib.BoundLogger) -> None:
        self.task = task
        self.log = log
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self._began


class Worker:
    """Works on one queue."""

    def __init__(
        self,
        consumer: Consumer,
        handler: Handler,
        calls: Calls,
        gate: Gate,
        limits: WorkLimits,
        metrics: AgentMetrics,
        *,
        system: str = "",
        tracing: Tracing | None = None,
    ) -> None:
        """
        Args:
            consumer: takes tasks and reports their end.
            handler: does them.
            calls: makes the handler's LLM calls.
            gate: no task is taken while it is closed.
            limits: tasks at a time, and their time.
            metrics: of this process.
            system: the agent's system prompt.
            tracing: makes the attempts' spans; none where None.
        """
        self._tracing = tracing or Tracing()
        self._consumer = consumer
        self._handler = handler
        self._calls = calls
        self._gate = gate
        self._limits = limits
        self._metrics = metrics
        self._system = system
        self._redis_problem: str | None = "Redis has not answered yet"
        self._running: dict[tuple[str, int], tuple[Task, asyncio.Task[None]]] = {}
        """By id and delivery: a task that was lost and came back runs beside the delivery that is to be dropped."""
        self._ending: set[tuple[str, int]] = set()
        """Tasks whose end is being reported: they may be gone already."""
        self._stopping = asyncio.Event()
        self._slot_free = asyncio.Event()
        self._log = structlog.get_logger(component="worker").bind(worker=consumer.name)
        metrics.show_work(limits.concurrent_tasks, lambda: len(self._running), lambda: gate.seconds == 0)

    @property
    def not_ready(self) -> str | None:
        """Why no task could be done; None where nothing is known to be in the way, a used up budget included."""
        return self._redis_problem or self._calls.problem

    def stop(self) -> None:
        """Take no more tasks and end; `run` returns when it is done."""
        self._log.info("stopping, no more tasks are taken")
        self._stopping.set()
        self._slot_free.set()
        self._calls.stop()

    async def run(self) -> None:
        """Work until `stop` is called, then drain."""
        async with asyncio.TaskGroup() as upkeep:
            helpers = [
                upkeep.create_task(self._every(self._consumer.leases.renew_every, self._renew)),
                upkeep.create_task(self._every(_RECLAIM_SECONDS, self._reclaim)),
                upkeep.create_task(self._calls.debts.run()),
            ]
            try:
                async with asyncio.TaskGroup() as work:
                    await self._fetch(work)
                    await self._drain()
            finally:
                for helper in helpers:
                    helper.cancel()
        await self._calls.debts.pay_at_last(_LAST_PAYMENT_SECONDS)
        await self._retire()

    async def _fetch(self, work: asyncio.TaskGroup) -> None:
        """Take tasks whenever there is a free slot and they could be done, until stopped."""
        pause = _FIRST_PAUSE_SECONDS
        budget_known = False
        while not self._stopping.is_set():
            free = self._limits.concurrent_tasks - len(self._running)
            if free <= 0:
                self._slot_free.clear()
                await self._slot_free.wait()
                continue
            try:
                if not budget_known:
                    await self._calls.usage()
                    budget_known, self._redis_problem = True, None
                if not await self._calls.until_open(self._sleep):
                    continue
                tasks = await self._take(free)
            except TaskQueueError as error:
                self._redis_problem = str(error)
                self._log.warning("cannot take tasks, trying again", error=str(error), pause_seconds=pause)
                await self._sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                continue
            pause, self._redis_problem = _FIRST_PAUSE_SECONDS, None
            if self._stopping.is_set():
                await self._give_back(tasks)  # they came with the answer to a wait that began before the stop
                return
            for task in tasks:
                self._running[task.id, task.delivery] = (task, work.create_task(self._work_on(task)))

    async def _take(self, free: int) -> list[Task]:
        return await self._consumer.claim(free) or await self._consumer.wait_for_new(free, _WAIT_SECONDS)

    async def _work_on(self, task: Task) -> None:
        """Work on one task and report its end; a cancelled one is left to whoever cancelled it."""
        attempt = _Attempt(task, self._log.bind(task=task.id, attempt=task.attempt))
        clock = AttemptClock(self._limits.task_seconds)
        context = Context(task, self._calls, clock, system=self._system)
        self._metrics.started(task.waited_ms / 1000)
        try:
            with self._tracing.attempt(task) as span:
                try:
                    async with clock:
                        answer = await _uncancelled(self._handler(context))
                    await self._completed(attempt, context, _outcome(answer, context))
                except Exception as error:  # noqa: BLE001 - whatever a handler raises or answers is the task's failure
                    span.failed(error)
                    await self._unfinished(attempt, error, late=clock.is_over)
        finally:
            if context.spent.unsettled is not None:
                self._calls.debts.owe(context.spent.unsettled)
            self._ending.discard((task.id, task.delivery))
            del self._running[task.id, task.delivery]
            self._slot_free.set()

    async def _unfinished(self, attempt: _Attempt, error: Exception, *, late: bool) -> None:
        """Say why a task was not done; what several calls at a time have raised counts by its gravest."""
        causes = list(_leaves(error))
        not_now = next((cause for cause in causes if isinstance(cause, NotNow)), None)
        if late:
            await self._failed(attempt, f"no answer within {self._limits.task_seconds:g} s", final=False)
        elif not_now is not None:
            await self._not_now(attempt, str(not_now))
        else:
            final = [cause for cause in causes if isinstance(cause, (Rejected, CallRefused))]
            cause = final[0] if final else causes[0]
            await self._failed(attempt, f"{type(cause).__name__}: {cause}", final=bool(final))

    async def _completed(self, attempt: _Attempt, context: Context, outcome: Outcome) -> None:
        seconds = attempt.seconds
        self._ending.add((attempt.task.id, attempt.task.delivery))

        async def complete() -> bool:
            settled = context.spent.unsettled
            if settled is not None:
                context.spent.unsettled = replace(settled, again=True)
            return await self._consumer.complete(attempt.task, outcome, seconds, settled)

        completed = await self._insist(complete, attempt.log)
        if completed is None:
            return
        context.spent.unsettled = None
        self._metrics.ended("completed" if completed else "lost", seconds)
        if completed:
            attempt.log.debug("task completed", service_seconds=round(seconds, 3), waited_ms=attempt.task.waited_ms)
        else:
            attempt.log.warning("task was done but is no longer ours, its result is dropped", service_seconds=seconds)

    async def _failed(self, attempt: _Attempt, error: str, *, final: bool) -> None:
        ended = await self._insist(lambda: self._consumer.fail(attempt.task, error, final=final), attempt.log)
        if ended is not None:
            self._metrics.ended("retried" if ended == "retry" else ended, attempt.seconds)
        attempt.log.warning("task failed", error=error, ended=ended or "unknown")

    async def _not_now(self, attempt: _Attempt, why: str) -> None:
        if self._gate.seconds == 0 and not self._stopping.is_set():
            self._gate.close("handler", _NOT_NOW_SECONDS)  # else it would be taken again at once, and so on
        lost = await self._insist(lambda: self._consumer.give_back([attempt.task]), attempt.log)
        if lost is not None:
            self._metrics.ended("lost" if lost else "given_back")
            attempt.log.info("task given back", why=why)

    async def _insist(self, report: Callable[[], Awaitable[_T]], log: structlog.stdlib.BoundLogger) -> _T | None:
        """Report the end of a task until Redis takes it; None when it did not for as long as a lease lasts."""
        deadline = time.monotonic() + self._consumer.leases.seconds
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return await report()
            except RedisUnavailable as error:
                if time.monotonic() + pause > deadline:
                    log.error("end of the task cannot be reported, it will be done again", error=str(error))
                    return None
                log.warning("cannot report the end of the task, trying again", error=str(error))
            except TaskQueueError as error:
                log.error("end of the task was refused, it will be done again", error=str(error))
                return None
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _drain(self) -> None:
        """Let running tasks finish within the grace period, then give the rest back."""
        if self._running:
            self._log.info("draining", tasks=len(self._running), grace_seconds=self._limits.grace_seconds)
            await asyncio.wait([job for _, job in self._running.values()], timeout=self._limits.grace_seconds)
        rest = list(self._running.values())
        for _, job in rest:
            job.cancel()
        if rest:
            await asyncio.wait([job for _, job in rest], timeout=_CANCEL_SECONDS)
            await self._give_back([task for task, _ in rest])

    async def _give_back(self, tasks: Sequence[Task]) -> None:
        if not tasks:
            return
        try:
            lost = await self._consumer.give_back(tasks)
        except TaskQueueError as error:
            self._log.error("tasks cannot be given back, others get them after the lease", error=str(error))
        else:
            for task in tasks:
                self._metrics.ended("lost" if task.id in lost else "given_back")
            self._log.info("tasks given back", tasks=len(tasks) - len(lost))

    async def _retire(self) -> None:
        try:
            async with asyncio.timeout(_RETIRE_SECONDS):
                await self._consumer.retire()
        except (TaskQueueError, TimeoutError) as error:
            self._log.warning("consumer cannot be removed, the others forget it in a day", error=str(error))

    async def _renew(self) -> None:
        tasks = [task for task, _ in self._running.values()]
        for lost in await self._consumer.renew(tasks):
            running = self._running.get((lost.id, lost.delivery))
            if running is not None and (lost.id, lost.delivery) not in self._ending:
                self._log.warning("task is no longer ours, dropping it", task=lost.id, delivery=lost.delivery)
                running[1].cancel()

    async def _reclaim(self) -> None:
        # First renewed: after an outage longer than the lease, what runs here must not be taken for a dead worker's.
        await self._renew()
        reclaimed = await self._consumer.reclaim()
        if reclaimed and (reclaimed.expired or reclaimed.buried):
            self._log.warning("tasks of dead workers reclaimed", tasks=reclaimed.expired, dead_letters=reclaimed.buried)

    async def _every(self, seconds: float, act: Callable[[], Awaitable[None]]) -> None:
        """Do something again and again, until cancelled; a failure is logged and tried again at the next turn."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await act()
            except TaskQueueError as error:
                self._log.warning("upkeep of the queue failed, trying again", error=str(error))

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but not beyond a stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return


async def _uncancelled(work: Awaitable[object]) -> object:
    """Await a handler; where something in it was cancelled that nobody cancelled from here, it has failed.

    Raises:
        HandlerCancelled: so it was.
    """
    try:
        return await work
    except asyncio.CancelledError as error:
        here = asyncio.current_task()
        if here is None or here.cancelling():
            raise
        raise HandlerCancelled("the handler awaited something that was cancelled") from error


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Give what an exception consists of."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error


def _outcome(answer: object, context: Context) -> Outcome:
    """Answer a handler's answer as it is stored.

    Raises:
        TypeError: it is neither text nor anything that JSON can hold.
    """
    output = answer if isinstance(answer, str) else json.dumps(answer)
    spent = context.spent
    return Outcome(output, spent.input_tokens, spent.output_tokens, spent.stop)
