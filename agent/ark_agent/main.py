"""The worker as a process."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack

import structlog

from ark_agent import providers
from ark_agent.calls import CallLimits, Calls
from ark_agent.context import Handler, answer_prompt
from ark_agent.gate import Gate
from ark_agent.metrics import AgentMetrics
from ark_agent.providers.errors import BadProvider
from ark_agent.settings import AgentSettings, queue_of
from ark_agent.tracing import Tracing, TracingMissing, tracing_of
from ark_agent.worker import Worker, WorkLimits
from ark_process import http, logs, settings
from ark_taskqueue import Budget, Consumer, Leases, RetryPolicy, TaskQueueError, TokenLedger, connect

_UPKEEP_CONNECTIONS = 5
"""Connections beside one for each task: fetch, renew, reclaim, scrape, and one to spare."""
_SCRAPE_SECONDS = 2.0
"""The most that a scrape waits for the budget."""


async def work(
    config: AgentSettings,
    handler: Handler = answer_prompt,
    signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT),
) -> None:
    """Work until one of the signals comes, then drain.

    Raises:
        BadProvider: the provider cannot be made.
        TracingMissing: spans are wanted, and OpenTelemetry is not installed.
        PortInUse: the HTTP server's address cannot be listened on.
    """
    async with AsyncExitStack() as stack:
        provider = providers.make(config.provider_options)
        stack.push_async_callback(provider.aclose)
        client = connect(
            config.redis,
            max_connections=config.max_concurrent_tasks + _UPKEEP_CONNECTIONS,
            name=f"ark-agent:{config.name}",
        )
        stack.push_async_callback(client.aclose)
        queue = queue_of(config.queue, config.group)
        consumer = Consumer(
            client,
            queue,
            config.name,
            leases=Leases(config.lease_seconds, config.result_seconds),
            retries=RetryPolicy(max_failures=config.max_retries),
        )
        metrics, gate = AgentMetrics(), Gate()
        budget = Budget(config.daily_token_limit or None, config.max_tokens)
        limits = CallLimits(budget, config.timeout_seconds, output_tokens=config.max_output_tokens or None)
        tracing = Tracing()
        if config.tracing:
            tracing = tracing_of(queue, config.name, providers.name_of(config.provider_options))
            stack.push_async_callback(asyncio.to_thread, tracing.close)
        calls = Calls(provider, TokenLedger(client, queue), limits, gate, metrics, config.model, tracing)
        work_limits = WorkLimits(config.max_concurrent_tasks, config.timeout_seconds, config.grace_seconds)
        worker = Worker(
            consumer, handler, calls, gate, work_limits, metrics, system=config.system_prompt, tracing=tracing
        )

        async def show_budget() -> None:
            with contextlib.suppress(TaskQueueError, TimeoutError):  # then it is shown as it was
                async with asyncio.timeout(_SCRAPE_SECONDS):
                    usage = await calls.usage()
                    left = float("inf") if budget.daily is None else budget.daily - usage.total - usage.reserved
                    metrics.show_budget(budget.daily, left)

        port = await stack.enter_async_context(
            http.serve(config.host, config.http_port, metrics.registry, lambda: worker.not_ready, show_budget)
        )
        log = structlog.get_logger(component="agent")
        log.info("agent works", queue=queue.name, model=config.model, daily_tokens=budget.daily, http_port=port)
        if config.ignored:
            log.warning("these settings are not acted on: this agent uses no tools", settings=config.ignored)
        loop = asyncio.get_running_loop()
        for number in signals:
            loop.add_signal_handler(number, worker.stop)
        await worker.run()
        log.info("agent has stopped")


def run(handler: Handler = answer_prompt, arguments: Sequence[str] | None = None) -> None:
    """Be a worker process: read the settings, and do tasks with the handler until SIGTERM or Ctrl-C.

    Args:
        handler: does a task; see `ark_agent.Context`.
        arguments: the command line without the program's name; the process's own where None.
    """
    config = settings.load(AgentSettings, arguments)
    logs.configure(config.log_level, config.log_format)
    try:
        asyncio.run(work(config, handler))
    except (BadProvider, TracingMissing, http.PortInUse) as error:
        settings.exit_with_usage_error(AgentSettings, [str(error)])


def main() -> None:
    """Be ``ark-agent``: answer prompts."""
    run()
