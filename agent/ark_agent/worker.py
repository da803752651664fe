"""Work on a queue's tasks, a few at a time, until told to stop.

What a task is done by is a handler (`ark_agent.context`), run by `ark_agent.attempt`; what it costs is
`ark_agent.calls`', and how it ended is told by `ark_agent.reporter`.

Tasks are fetched when there is a free slot, and each is worked on in a task of its own; their leases are the upkeep's
(`ark_agent.upkeep`). On stop no more is fetched, what runs may finish within the grace period, and the rest is given
back; then the consumer is removed. What cannot even be cancelled ends with the process.

Redis may be away for a while at any of these points: fetching, renewing and reclaiming try again, and the end of a
task is reported again until its lease is over. A task is never lost by that, at worst it is done a second time, and
then only the one that still holds it may complete it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from ark_agent.attempt import Attempt, Attempts
from ark_agent.calls import Calls
from ark_agent.containment import task_factory
from ark_agent.context import Handler
from ark_agent.drain import drain, jobs
from ark_agent.gate import Gate
from ark_agent.options import Reports, WorkLimits
from ark_agent.reporter import Reporter
from ark_agent.turns import Turns
from ark_process.backoff import Backoff
from ark_taskqueue import PRIORITIES, Consumer, Task, TaskQueueError

_STUBBORN_SECONDS = 10.0
"""So long a handler whose time is over may take to end."""
_WAIT_SECONDS = 1.0
"""How long one wait for new tasks lasts: so soon are given back tasks, and a stop, noticed."""
_BACKOFF = Backoff(first=0.1, longest=2.0)
_RETIRE_SECONDS = 2.0
_LAST_PAYMENT_SECONDS = 5.0


class Worker:
    """Works on one queue.

    Args:
        consumer: takes tasks and reports their end.
        handler: does them.
        calls: makes the handler's LLM calls.
        gate: no task is taken while it is closed.
        limits: tasks at a time, and their time.
        reports: what tells of its work.
        system: the agent's system prompt.
        end: ends the process, where a handler cannot be made to.
    """

    def __init__(
        self,
        consumer: Consumer,
        handler: Handler,
        calls: Calls,
        gate: Gate,
        limits: WorkLimits,
        reports: Reports,
        *,
        system: str = "",
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._consumer = consumer
        self._calls = calls
        self._gate = gate
        self._limits = limits
        self._end = end
        self._reporter = Reporter(consumer, gate, reports.metrics, reports.scrub, log_texts=reports.log_texts)
        self._attempts = Attempts(
            handler,
            calls,
            self._reporter,
            reports.metrics,
            reports.tracing,
            task_seconds=limits.task_seconds,
            most_failures=consumer.most_failures,
            system=system,
        )
        self._metrics = reports.metrics
        self._turns = Turns(limits.lower_priority_share, limits.concurrent_tasks)
        self._redis_problem: str | None = "Redis has not answered yet"
        self._running: list[Attempt] = []
        """A task that was refused or lost may come back before its last attempt has left."""
        self._main: asyncio.Task[Any] | None = None
        """What runs `run`."""
        self.is_closing = False
        """Whether all of its tasks have ended, and what they have cost is being written down."""
        self._stopping = asyncio.Event()
        self._slot_free = asyncio.Event()
        self._log = structlog.get_logger(component="worker").bind(worker=consumer.name)
        reports.metrics.show_work(limits.concurrent_tasks, lambda: len(self._running), lambda: gate.seconds == 0)

    @property
    def not_ready(self) -> str | None:
        """Why no task could be done; None where nothing is known to be in the way. A budget that is exceeded is not."""
        return self._redis_problem or self._calls.problem

    def stop(self) -> None:
        """Take no more tasks and end; `run` returns when it is done."""
        self._log.info("stopping, no more tasks are taken")
        self._stopping.set()
        self._slot_free.set()
        self._calls.reserving.stop()

    def held(self) -> list[Task]:
        """Return the tasks whose leases are to be renewed; may be called from any thread."""
        return [attempt.task for attempt in list(self._running) if not attempt.is_given_up]

    def lost(self, task: Task) -> None:
        """Drop a task that is no longer this worker's."""
        for attempt in self._running:
            if attempt.is_of(task) and not attempt.is_ending and not attempt.is_dropped:
                self._log.warning(
                    "task was cancelled, or belongs to another worker now: dropping it",
                    task=task.id,
                    delivery=task.delivery,
                )
                self._metrics.ended("lost")
                attempt.drop()

    def _is_ending(self) -> bool:
        """Return whether the worker was cancelled, as when a callback of a handler's has ended the event loop."""
        return self._main is not None and self._main.cancelling() > 0

    async def run(self) -> None:
        """Work until `stop` is called, then drain."""
        self._main = asyncio.current_task()
        loop = asyncio.get_running_loop()
        loop.set_task_factory(task_factory)
        loop.set_exception_handler(self._unretrieved)
        async with asyncio.TaskGroup() as upkeep:
            paying = upkeep.create_task(self._calls.reserving.debts.run())
            try:
                async with asyncio.TaskGroup() as work:
                    await self._fetch(work)
                    await drain(
                        self._running,
                        self._reporter,
                        self._calls.reserving,
                        self._log,
                        grace_seconds=self._limits.grace_seconds,
                        end=self._end,
                    )
            finally:
                paying.cancel()
        self.is_closing = True
        try:
            await self._calls.reserving.debts.pay_at_last(_LAST_PAYMENT_SECONDS)
            await self._retire()
        finally:
            self.is_closing = False

    async def _fetch(self, work: asyncio.TaskGroup) -> None:
        """Take tasks whenever there is a free slot and they could be done, until stopped."""
        failures = 0
        budget_known = False
        while not self._stopping.is_set():
            await self._give_up_the_stubborn()
            free = self._free
            if free <= 0:
                self._slot_free.clear()
                with contextlib.suppress(TimeoutError):  # an answer of the provider's frees slots too
                    async with asyncio.timeout(_WAIT_SECONDS):
                        await self._slot_free.wait()
                continue
            try:
                if not budget_known:
                    await self._calls.reserving.usage()
                    budget_known, self._redis_problem = True, None
                if not await self._calls.reserving.until_open(self._sleep):
                    continue
                tasks, in_turn = await self._take(1 if self._gate.probing else free)
            except TaskQueueError as error:
                self._redis_problem = str(error)
                failures += 1
                pause = _BACKOFF.pause(failures)
                self._log.warning("cannot take tasks, trying again", error=str(error), pause_seconds=pause)
                await self._sleep(pause)
                continue
            failures, self._redis_problem = 0, None
            if self._stopping.is_set():
                # They came with the answer to a wait that began before the stop.
                await self._reporter.give_back(tasks, self._log)
                return
            for task in tasks:
                others = jobs(self._running) if task.alone else []
                attempt = self._attempts.begin(task, self._gate.now(), self._log)
                attempt.in_turn = in_turn
                attempt.job = work.create_task(self._work_on(attempt, others), name=f"task {task.id}")
                self._running.append(attempt)

    async def _give_up_the_stubborn(self) -> None:
        """End the process where a handler does not let itself be cancelled: it would hold its slot for ever.

        Its attempt has failed; the other tasks end in order, and their slots come back with the next process.
        """
        now = asyncio.get_running_loop().time()
        for attempt in list(self._running):
            if not attempt.is_given_up and attempt.over_for(now) > _STUBBORN_SECONDS:
                attempt.is_given_up = True
                self._log.error("handler ignored its timeout, stopping the worker", task=attempt.task.id)
                await self._attempts.too_late(attempt)
                self.stop()

    def _unretrieved(self, _: asyncio.AbstractEventLoop, what: Mapping[str, Any]) -> None:
        """Log what asyncio reports, mostly a task of a handler's that nobody waits for, without a text of its own."""
        error = what.get("exception")
        kind = self._reporter.loggable(error) if isinstance(error, BaseException) else ""
        self._log.error("unawaited asyncio task failed", what=str(what.get("message", "")), error=kind)

    @property
    def _free(self) -> int:
        """Slots for further tasks: none beside a task that is to be alone, one while the provider refuses."""
        if any(attempt.task.alone for attempt in self._running):
            return 0
        most = self._limits.concurrent_tasks
        if self._gate.probing:
            began = self._gate.refused_at or 0.0
            if any(attempt.taken_at >= began for attempt in self._running):
                return 0  # one is being tried
        return most - len(self._running)

    async def _take(self, free: int) -> tuple[list[Task], bool]:
        """Take tasks; return them, and whether they are taken in a turn of lower priorities."""
        began = time.monotonic()
        held = sum(attempt.in_turn for attempt in self._running)
        turn = self._turns.order(began, self._consumer.used, held)
        tasks = await self._consumer.claim(
            free if turn is None else 1, refused=self._gate.takes_refused, order=turn or PRIORITIES
        )
        in_turn = turn is not None and any(task.priority in self._consumer.used[1:] for task in tasks)
        tasks = tasks or await self._consumer.wait_for_new(free, _WAIT_SECONDS)
        if tasks and time.monotonic() - began > self._consumer.leases.renew_every:
            # A handler has blocked the event loop meanwhile: they may be somebody else's by now.
            lost = await self._consumer.renew(tasks)
            tasks = [task for task in tasks if task not in lost]
        if tasks and in_turn:
            self._turns.taken(time.monotonic())
        return tasks, in_turn

    async def _work_on(self, attempt: Attempt, others: Sequence[asyncio.Task[None]]) -> None:
        """Work on one task and report its end; a cancelled one is left to whoever cancelled it.

        Args:
            attempt: at the task.
            others: end first; for a task that is to be alone.
        """
        try:
            if await self._ended(others):
                await self._attempts.run(attempt, self._is_ending)
            else:
                await self._reporter.give_back([attempt.task], self._log)
        except Exception as error:  # noqa: BLE001 - a defect of ours, or an exception that cannot even be shown
            attempt.log.error("cannot report the task's outcome", error=type(error).__name__)
        finally:
            self._running.remove(attempt)
            self._slot_free.set()

    async def _ended(self, others: Sequence[asyncio.Task[None]]) -> bool:
        """Wait until other tasks have ended; return False where the worker is to stop before."""
        rest = {job for job in others if not job.done()}
        if not rest:
            return True
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            while rest and not self._stopping.is_set():
                done, _ = await asyncio.wait({*rest, stopping}, return_when=asyncio.FIRST_COMPLETED)
                rest -= done
        finally:
            stopping.cancel()
        return not rest

    async def _retire(self) -> None:
        try:
            async with asyncio.timeout(_RETIRE_SECONDS):
                await self._consumer.retire()
        except (TaskQueueError, TimeoutError) as error:
            self._log.warning("consumer cannot be removed, the others forget it in a day", error=str(error))

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but not beyond a stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
