"""The worker as a process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass

import structlog

from ark_agent import providers
from ark_agent.calls import Calls
from ark_agent.context import Handler, answer_prompt
from ark_agent.gate import Gate
from ark_agent.metrics import AgentMetrics
from ark_agent.options import Reports, WorkLimits
from ark_agent.providers.errors import BadProvider
from ark_agent.reserving import CallLimits, Reserving
from ark_agent.settings import AgentSettings, queue_of
from ark_agent.tracing import Tracing, TracingMissing, tracing_of
from ark_agent.upkeep import Upkeep
from ark_agent.worker import Worker
from ark_process import http, program, settings
from ark_taskqueue import (
    Budget,
    Client,
    Consumer,
    Leases,
    LettersKept,
    QueueKeys,
    RetryPolicy,
    TaskQueueError,
    TokenLedger,
    connect,
)

_FURTHER_CONNECTIONS = 3
"""Connections beside one for each task: fetch, scrape, and one to spare."""
_UPKEEP_CONNECTIONS = 2
_HARD_END_SECONDS = 5.0
"""After the grace period: then the process ends, whatever still runs in it."""
_CLOSING_SECONDS = 8.0
"""Beyond that, where the last costs are being written down; a Pod has 15 s after the grace period."""
_LONGEST_BLOCK_MARGIN_SECONDS = 10.0
"""A handler that blocks the event loop cannot be told that its time is over: the process ends so much later."""
_MOST_THREADS = 256
"""For `asyncio.to_thread`; made when they are needed."""
_SCRAPE_SECONDS = 2.0
"""The most that a scrape waits for the budget."""


async def work(
    config: AgentSettings,
    handler: Handler = answer_prompt,
    signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT),
    *,
    ends_process: bool = False,
) -> None:
    """Work until one of the signals comes, then drain.

    Args:
        config: the settings.
        handler: does a task.
        signals: stop the worker.
        ends_process: whether the process has nothing else to do: then what a handler has left behind, a thread that
            nobody can end or an exit function that sleeps, must not keep it.

    Raises:
        BadProvider: the provider cannot be made.
        TracingMissing: spans are wanted, and OpenTelemetry is not installed.
        PortInUse: the HTTP server's address cannot be listened on.
    """
    # First of all: a Pod that is deleted while it starts takes no task.
    stopping = _Stopping(config.grace_seconds, signals, ends_process=ends_process)
    async with AsyncExitStack() as stack:
        stack.callback(stopping.restore)
        parts = await _assembled(config, handler, stack)
        worker, metrics, budget = parts.worker, parts.metrics, parts.budget
        stopping.tell(worker)
        loop = asyncio.get_running_loop()
        # Threads that handlers leave behind when their time is over stay; servers' names are looked up in these, too.
        loop.set_default_executor(ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="asyncio"))

        async def before_scrape() -> None:
            """Ask in the worker's own thread; where that does not answer, the budget is shown as it was."""
            with contextlib.suppress(TaskQueueError, TimeoutError):
                asked = asyncio.run_coroutine_threadsafe(parts.show_budget(), loop)
                await asyncio.wait_for(asyncio.wrap_future(asked), _SCRAPE_SECONDS)

        def endpoint() -> AbstractAsyncContextManager[int]:
            return http.serve(config.host, config.http_port, metrics.registry, lambda: worker.not_ready, before_scrape)

        upkeep = Upkeep(
            worker,
            lambda: _consumer(config, _UPKEEP_CONNECTIONS),
            metrics,
            endpoint=endpoint,
            longest_block_seconds=config.timeout_seconds + _LONGEST_BLOCK_MARGIN_SECONDS,
        )
        port = await stack.enter_async_context(upkeep.running())
        log = structlog.get_logger(component="agent")
        log.info("agent started", queue=parts.queue.name, model=config.model, daily_tokens=budget.daily, http_port=port)
        if config.ignored:
            log.warning("settings ignored: this agent does not support tools", settings=config.ignored)
        await worker.run()
        log.info("agent has stopped")


@dataclass(frozen=True, slots=True)
class _Parts:
    worker: Worker
    reserving: Reserving
    metrics: AgentMetrics
    budget: Budget
    queue: QueueKeys

    async def show_budget(self) -> None:
        """Read what of the budget is left, for a scrape."""
        usage = await self.reserving.usage()
        daily = self.budget.daily
        left = float("inf") if daily is None else daily - usage.total - usage.reserved
        self.metrics.show_budget(daily, left)


async def _assembled(config: AgentSettings, handler: Handler, stack: AsyncExitStack) -> _Parts:
    """Put a worker together from the settings; the stack closes what is opened."""
    provider = providers.make(config.provider_options)
    stack.push_async_callback(provider.aclose)
    queue = queue_of(config.queue, config.group)
    client, consumer = _consumer(config, config.max_concurrent_tasks + _FURTHER_CONNECTIONS)
    stack.push_async_callback(client.aclose)
    metrics, gate = AgentMetrics(), Gate()
    budget = Budget(config.daily_token_limit or None, config.max_tokens)
    limits = CallLimits(budget, config.timeout_seconds, output_tokens=config.max_output_tokens or None)
    tracing = Tracing()
    if config.tracing:
        tracing = tracing_of(queue, config.name, providers.name_of(config.provider_options))
        stack.push_async_callback(asyncio.to_thread, tracing.close)
    reserving = Reserving(TokenLedger(client, queue), limits, gate)
    worker = Worker(
        consumer,
        handler,
        Calls(provider, reserving, limits, gate, metrics, config.model, tracing),
        gate,
        WorkLimits(
            config.max_concurrent_tasks,
            config.timeout_seconds,
            config.grace_seconds,
            lower_priority_share=config.lower_priority_share,
        ),
        Reports(metrics, tracing, config.scrubber, config.log_error_texts),
        system=config.system_prompt,
    )
    return _Parts(worker, reserving, metrics, budget, queue)


def _consumer(config: AgentSettings, connections: int) -> tuple[Client, Consumer]:
    client = connect(config.redis.get_secret_value(), max_connections=connections, name=f"ark-agent:{config.name}")
    consumer = Consumer(
        client,
        queue_of(config.queue, config.group),
        config.name,
        leases=Leases(config.lease_seconds, config.result_seconds),
        retries=RetryPolicy(max_failures=config.max_retries),
        letters=LettersKept(config.dead_letters_kept, config.dead_letter_seconds),
        record_seconds=config.demand_record_seconds,
    )
    return client, consumer


class _Stopping:
    """Stops a worker on a signal, and ends the process where that does not end it.

    The handlers are Python's own and not the event loop's: a handler that blocks the loop must not keep a signal from
    being heard. A thread that a handler has started and nobody can stop does not keep the process either.
    """

    def __init__(self, grace_seconds: float, signals: Sequence[signal.Signals], *, ends_process: bool) -> None:
        self._ends_process = ends_process
        self._seconds = grace_seconds + _HARD_END_SECONDS
        self._loop = asyncio.get_running_loop()
        self._worker: Worker | None = None
        self._came = False
        self._timer: threading.Timer | None = None
        self._extended = False
        self._before = {number: signal.signal(number, self._stop) for number in signals}

    def tell(self, worker: Worker) -> None:
        """Stop this worker, at once where a signal has come already."""
        self._worker = worker
        if self._came:
            worker.stop()

    def restore(self) -> None:
        """Leave signals to whoever had them before."""
        if self._timer is not None and not self._ends_process and not self._stuck_threads():
            self._timer.cancel()  # what the caller does next is the caller's
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_IGN if self._came else handler)

    def _stuck_threads(self) -> bool:
        """Return whether threads of handlers still run: nothing can end those but the process's end."""
        return any(thread.name.startswith("asyncio_") for thread in threading.enumerate())

    def _stop(self, *_: object) -> None:
        if self._came:
            return
        self._came = True
        self._arm(self._seconds)
        if self._worker is not None:
            self._loop.call_soon_threadsafe(self._worker.stop)

    def _arm(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._timer.start()

    def _end(self) -> None:
        if self._worker is not None and self._worker.is_closing and not self._extended:
            # Nothing is stuck: costs are being written down, and Redis is slow.
            self._extended = True
            self._arm(_CLOSING_SECONDS)
            return
        structlog.get_logger(component="agent").error("shutdown did not finish in time, exiting", seconds=self._seconds)
        os._exit(1)


def run(handler: Handler = answer_prompt, arguments: Sequence[str] | None = None) -> None:
    """Be a worker process: read the settings, and do tasks with the handler until SIGTERM or Ctrl-C.

    Args:
        handler: does a task; see `ark_agent.Context`.
        arguments: the command line without the program's name; the process's own where None.
    """
    config = program.begin(AgentSettings, arguments)
    try:
        asyncio.run(work(config, handler, ends_process=True))
    except (BadProvider, TracingMissing, http.PortInUse) as error:
        settings.exit_with_usage_error(AgentSettings, [str(error)])


def main() -> None:
    """Be ``ark-agent``: answer prompts."""
    run()
