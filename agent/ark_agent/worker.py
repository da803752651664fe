"""Work on a queue's tasks, a few at a time, until told to stop.

What a task is done by is a handler (`ark_agent.context`); what it costs is `ark_agent.calls`'.

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
import json
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import structlog

from ark_agent.attempt_clock import AttemptClock
from ark_agent.calls import Calls
from ark_agent.containment import contained, task_factory
from ark_agent.context import Context, Handler, Rejected
from ark_agent.failures import NotBuried, NotStorable, TooLate, full, shown
from ark_agent.gate import Gate, NotNow, Postponed, RefusedForNow
from ark_agent.metrics import AgentMetrics
from ark_agent.providers.errors import CallRefused, InputRefused, NoText
from ark_agent.tracing import Tracing
from ark_process.exceptions import leaves
from ark_taskqueue import Consumer, Counting, Ended, Outcome, RedisRefused, RedisUnavailable, Task, TaskQueueError

_STUBBORN_SECONDS = 10.0
"""So long a handler whose time is over may take to end."""
_LONGEST_TEXT = 4000
"""Characters of an error that a dead letter keeps."""
_WAIT_SECONDS = 1.0
"""How long one wait for new tasks lasts: so soon are given back tasks, and a stop, noticed."""
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
_RETIRE_SECONDS = 2.0
_NOT_NOW_SECONDS = 1.0
"""How long no task is taken after a handler of the user's own has said that one cannot be done now."""
_CANCEL_SECONDS = 3.0
"""What a cancelled handler may take to end; the process ends with one that does not."""
_LAST_GIVE_BACK_SECONDS = 1.0
_FINAL = (NotBuried, Rejected, InputRefused, NoText, NotStorable)
"""Failures that another attempt would only repeat, and pay for again."""
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


@dataclass(frozen=True, slots=True)
class Reports:
    """What tells of a worker's work."""

    metrics: AgentMetrics
    tracing: Tracing = field(default_factory=Tracing)
    """Makes the attempts' spans."""
    scrub: Callable[[str], str] = str
    """Takes known secrets out of an error before it is stored."""
    log_texts: bool = False
    """Whether logs may have errors' full texts, which may quote prompts."""


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
        reports: Reports,
        *,
        system: str = "",
        end: Callable[[int], object] = os._exit,
    ) -> None:
        """
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
        self._consumer = consumer
        self._handler = handler
        self._calls = calls
        self._gate = gate
        self._limits = limits
        self._metrics = metrics = reports.metrics
        self._system = system
        self._reports = reports
        self._end = end
        self._redis_problem: str | None = "Redis has not answered yet"
        self._running: dict[tuple[str, int], tuple[Task, asyncio.Task[None]]] = {}
        """By id and delivery: a task that was lost and came back runs beside the delivery that is to be dropped."""
        self._since: dict[tuple[str, int], float] = {}
        """When an attempt began, by the gate's clock."""
        self._dropped: set[tuple[str, int]] = set()
        """Tasks that were cancelled from here."""
        self._ending: set[tuple[str, int]] = set()
        self._main: asyncio.Task[Any] | None = None
        """What runs `run`."""
        self._attempts: dict[tuple[str, int], tuple[_Attempt, AttemptClock]] = {}
        self._given_up: set[tuple[str, int]] = set()
        """Attempts whose failure is reported though their handlers do not end."""
        """Tasks whose end is being reported: they may be gone already."""
        self.is_closing = False
        """Whether all of its tasks have ended, and what they have cost is being written down."""
        self._stopping = asyncio.Event()
        self._slot_free = asyncio.Event()
        self._log = structlog.get_logger(component="worker").bind(worker=consumer.name)
        metrics.show_work(limits.concurrent_tasks, lambda: len(self._running), lambda: gate.seconds == 0)

    @property
    def not_ready(self) -> str | None:
        """Why no task could be done; None where nothing is known to be in the way. A budget that is exceeded is not."""
        return self._redis_problem or self._calls.problem

    def stop(self) -> None:
        """Take no more tasks and end; `run` returns when it is done."""
        self._log.info("stopping, no more tasks are taken")
        self._stopping.set()
        self._slot_free.set()
        self._calls.stop()

    def held(self) -> list[Task]:
        """Return the tasks whose leases are to be renewed; may be called from any thread."""
        return [task for key, (task, _) in list(self._running.items()) if key not in self._given_up]

    def lost(self, task: Task) -> None:
        """Drop a task that is no longer this worker's."""
        key = task.id, task.delivery
        running = self._running.get(key)
        if running is not None and key not in self._ending:
            self._log.warning("task is no longer ours, dropping it", task=task.id, delivery=task.delivery)
            self._dropped.add(key)
            running[1].cancel()

    @property
    def _is_ending(self) -> bool:
        """Whether the worker itself was cancelled, as when a callback of a handler's has ended the event loop."""
        return self._main is not None and self._main.cancelling() > 0

    async def run(self) -> None:
        """Work until `stop` is called, then drain."""
        self._main = asyncio.current_task()
        loop = asyncio.get_running_loop()
        loop.set_task_factory(task_factory)
        loop.set_exception_handler(self._unretrieved)
        async with asyncio.TaskGroup() as upkeep:
            paying = upkeep.create_task(self._calls.debts.run())
            try:
                async with asyncio.TaskGroup() as work:
                    await self._fetch(work)
                    await self._drain()
            finally:
                paying.cancel()
        self.is_closing = True
        try:
            await self._calls.debts.pay_at_last(_LAST_PAYMENT_SECONDS)
            await self._retire()
        finally:
            self.is_closing = False

    async def _fetch(self, work: asyncio.TaskGroup) -> None:
        """Take tasks whenever there is a free slot and they could be done, until stopped."""
        pause = _FIRST_PAUSE_SECONDS
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
                    await self._calls.usage()
                    budget_known, self._redis_problem = True, None
                if not await self._calls.until_open(self._sleep):
                    continue
                tasks = await self._take(1 if self._gate.probing else free)
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
                others = [job for _, job in self._running.values()] if task.alone else []
                self._since[task.id, task.delivery] = self._gate.now()
                job = work.create_task(self._work_on(task, others), name=f"task {task.id}")
                self._running[task.id, task.delivery] = (task, job)

    async def _give_up_the_stubborn(self) -> None:
        """End the process where a handler does not let itself be cancelled: it would hold its slot for ever.

        Its attempt has failed; the other tasks end in order, and their slots come back with the next process.
        """
        now = asyncio.get_running_loop().time()
        for key, (attempt, clock) in list(self._attempts.items()):
            if key not in self._given_up and clock.over_for(now) > _STUBBORN_SECONDS:
                self._given_up.add(key)
                self._log.error("a handler does not end when its time is over, the process ends", task=key[0])
                await self._failed(attempt, TooLate(f"no answer within {self._limits.task_seconds:g} s"))
                self.stop()

    def _unretrieved(self, _: asyncio.AbstractEventLoop, what: Mapping[str, Any]) -> None:
        """Log what asyncio reports, mostly a task of a handler's that nobody waits for, without a text of its own."""
        error = what.get("exception")
        kind = self._loggable(error) if isinstance(error, BaseException) else ""
        self._log.error("a task that nobody waits for has failed", what=str(what.get("message", "")), error=kind)

    @property
    def _free(self) -> int:
        """Slots for further tasks: none beside a task that is to be alone, one while the provider refuses."""
        if any(task.alone for task, _ in self._running.values()):
            return 0
        most = self._limits.concurrent_tasks
        if self._gate.probing:
            began = self._gate.refused_at or 0.0
            if any(since >= began for since in self._since.values()):
                return 0  # one is being tried
        return most - len(self._running)

    async def _take(self, free: int) -> list[Task]:
        began = time.monotonic()
        tasks = await self._consumer.claim(free, refused=self._gate.takes_refused)
        tasks = tasks or await self._consumer.wait_for_new(free, _WAIT_SECONDS)
        if tasks and time.monotonic() - began > self._consumer.leases.renew_every:
            # A handler has blocked the event loop meanwhile: they may be somebody else's by now.
            lost = await self._consumer.renew(tasks)
            tasks = [task for task in tasks if task not in lost]
        return tasks

    async def _work_on(self, task: Task, others: Sequence[asyncio.Task[None]]) -> None:
        """Work on one task and report its end; a cancelled one is left to whoever cancelled it.

        Args:
            task: the task.
            others: end first; for a task that is to be alone.
        """
        try:
            if await self._ended(others):
                await self._attempt(task)
            else:
                await self._give_back([task])
        except Exception as error:  # noqa: BLE001 - a defect of ours, or an exception that cannot even be shown
            self._log.error("end of the task cannot be told", task=task.id, error=type(error).__name__)
        finally:
            key = task.id, task.delivery
            del self._running[key], self._since[key]
            self._attempts.pop(key, None)
            self._ending.discard(key)
            self._dropped.discard(key)
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

    async def _attempt(self, task: Task) -> None:
        key = task.id, task.delivery
        attempt = _Attempt(task, self._log.bind(task=task.id, attempt=task.attempt))
        if task.delivery > self._consumer.most_failures:
            await self._failed(attempt, NotBuried("it failed as often as it may, and could not be made a dead letter"))
            return
        clock = AttemptClock(self._limits.task_seconds)
        self._attempts[key] = (attempt, clock)
        context = Context(task, self._calls, clock, system=self._system)
        self._metrics.started(task.waited_ms / 1000)
        try:
            with self._reports.tracing.attempt(task) as span:
                try:
                    async with clock:
                        outcome = await contained(
                            lambda: self._handler(context),
                            lambda answer: _outcome(answer, context),
                            lambda: key in self._dropped or self._is_ending,
                        )
                    await self._completed(attempt, context, outcome)
                except Exception as error:
                    if key in self._dropped:
                        raise asyncio.CancelledError from error  # what a handler says when it is broken off
                    span.failed(error)
                    await self._unfinished(attempt, error, late=clock.is_over, answered=context.spent.answered)
        finally:
            left = context.spent.end()
            if left is not None:
                self._calls.debts.owe(left)

    async def _unfinished(self, attempt: _Attempt, error: Exception, *, late: bool, answered: bool) -> None:
        """Say why a task was not done; what several calls at a time have raised counts by its gravest.

        Args:
            attempt: at the task.
            error: what ended it.
            late: whether that was the end of its time.
            answered: whether the provider has answered a call of it.
        """
        causes = list(leaves(error))
        not_now = next((cause for cause in causes if isinstance(cause, NotNow)), None)
        if late:
            await self._failed(attempt, TooLate(f"no answer within {self._limits.task_seconds:g} s"))
        elif not_now is not None:
            await self._not_now(attempt, not_now, answered=answered)
        else:
            final = [cause for cause in causes if isinstance(cause, _FINAL)]
            await self._failed(attempt, (final or causes)[0])

    def _text_of(self, error: BaseException) -> str:
        """Return what a dead letter says of an error: without known keys, and then shortened."""
        return self._reports.scrub(full(error))[:_LONGEST_TEXT]

    def _loggable(self, error: BaseException) -> str:
        return full(error) if self._reports.log_texts else shown(error)

    async def _completed(self, attempt: _Attempt, context: Context, outcome: Outcome) -> None:
        seconds = attempt.seconds
        self._ending.add((attempt.task.id, attempt.task.delivery))
        settled, asked = context.spent.end(), False

        async def complete() -> bool:
            nonlocal asked
            call = None if settled is None else replace(settled, again=asked)
            asked = True
            try:
                answered = context.spent.answered
                return await self._consumer.complete(attempt.task, outcome, seconds, call, answered=answered)
            except RedisRefused as error:  # as would be the next attempt's, which would be paid for again
                raise NotStorable(f"the result cannot be stored: {error}") from error

        written = False
        try:
            completed = await self._insist(complete, attempt.log)
            written = completed is not None
        finally:
            if settled is not None and not written:
                self._calls.debts.owe(replace(settled, again=asked))
        if completed is None:
            return
        self._metrics.ended("completed" if completed else "lost", seconds)
        if completed:
            attempt.log.debug("task completed", service_seconds=round(seconds, 3), waited_ms=attempt.task.waited_ms)
        else:
            attempt.log.warning("task was done but is no longer ours, its result is dropped", service_seconds=seconds)

    async def _failed(self, attempt: _Attempt, cause: BaseException) -> None:
        text = self._text_of(cause)
        final = isinstance(cause, _FINAL)

        async def fail() -> Ended:
            if isinstance(cause, CallRefused):  # noted as a refusal: it may turn out to be one of many
                return await self._consumer.refuse(attempt.task, text, "always")
            return await self._consumer.fail(attempt.task, text, final=final)

        ended = await self._insist(fail, attempt.log)
        self._count(attempt, ended)
        attempt.log.warning("task failed", error=self._loggable(cause), ended=ended.outcome if ended else "unknown")

    async def _not_now(self, attempt: _Attempt, why: NotNow, *, answered: bool) -> None:
        if isinstance(why, Postponed):
            lost = await self._insist(lambda: self._consumer.give_back([attempt.task]), attempt.log)
            if lost is not None:
                self._metrics.ended("lost" if lost else "given_back")
                attempt.log.info("task given back", why=str(why))
            return
        refused = isinstance(why, RefusedForNow)
        counts: Counting = "never"
        if isinstance(why, RefusedForNow):
            # A provider that takes the task's first call and not its second would be paid for the first for ever.
            counts = ("always" if answered else "proved") if why.may_count else "noted"
        if not refused and self._gate.seconds == 0 and not self._stopping.is_set():
            self._gate.close("handler", _NOT_NOW_SECONDS)  # else it would be taken again at once, and so on
        text = self._text_of(why.__cause__ if refused and why.__cause__ is not None else why)
        ended = await self._insist(lambda: self._consumer.refuse(attempt.task, text, counts), attempt.log)
        self._count(attempt, ended)
        attempt.log.info("task refused", why=self._loggable(why), ended=ended.outcome if ended else "unknown")

    def _count(self, attempt: _Attempt, ended: Ended | None) -> None:
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
        """Let running tasks finish within the grace period, then give the rest back.

        A handler that does not let itself be cancelled is still at work: its task is given back in the moment in which
        the process ends.
        """
        waited_for = [job for key, (_, job) in self._running.items() if key not in self._given_up]
        if waited_for:
            self._log.info("draining", tasks=len(waited_for), grace_seconds=self._limits.grace_seconds)
            await asyncio.wait(waited_for, timeout=self._limits.grace_seconds)
        rest = list(self._running.values())
        for task, job in rest:
            self._dropped.add((task.id, task.delivery))
            job.cancel()
        if not rest:
            return
        await asyncio.wait([job for _, job in rest], timeout=_CANCEL_SECONDS)
        await self._give_back([task for task, job in rest if job.done()])
        still = [task for task, job in rest if not job.done()]
        stubborn = [task for task in still if (task.id, task.delivery) not in self._given_up]
        if still:
            self._log.error(
                "handlers do not end when they are cancelled, the process ends", tasks=[t.id for t in still]
            )
            try:
                async with asyncio.timeout(_LAST_GIVE_BACK_SECONDS):
                    await self._calls.pay()
                    await self._give_back(stubborn)
            except TimeoutError:
                self._log.error("tasks cannot be given back, others get them after the lease")
            self._end(1)

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

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but not beyond a stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return


def _outcome(answer: object, context: Context) -> Outcome:
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
    spent = context.spent
    return Outcome(output, spent.input_tokens, spent.output_tokens, spent.stop)
