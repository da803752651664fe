"""The worker as a process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence

from ark_agent import providers
from ark_agent.settings import AgentSettings, queue_of
from ark_agent.worker import Worker, WorkLimits
from ark_process import logs, settings
from ark_taskqueue import Consumer, Leases, RetryPolicy, connect

_UPKEEP_CONNECTIONS = 4
"""Connections beside one for each task: fetch, renew, reclaim, and one to spare."""


async def run(config: AgentSettings, signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT)) -> None:
    """Work until one of the signals comes, then drain."""
    client = connect(
        config.redis, max_connections=config.max_concurrent_tasks + _UPKEEP_CONNECTIONS, name=f"ark-agent:{config.name}"
    )
    consumer = Consumer(
        client,
        queue_of(config.queue, config.group),
        config.name,
        leases=Leases(config.lease_seconds, config.result_seconds),
        retries=RetryPolicy(max_failures=config.max_retries),
    )
    limits = WorkLimits(config.max_concurrent_tasks, config.timeout_seconds, config.grace_seconds)
    worker = Worker(consumer, providers.make(config.provider), limits)
    loop = asyncio.get_running_loop()
    for number in signals:
        loop.add_signal_handler(number, worker.stop)
    try:
        await worker.run()
    finally:
        await client.aclose()


def main() -> None:
    """Run the worker."""
    config = settings.load(AgentSettings)
    logs.configure(config.log_level, config.log_format)
    asyncio.run(run(config))
