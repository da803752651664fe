"""What is read of one Redis for many callers at once: depths, token usage and recent demand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from ark_scaler.metrics import ScalerMetrics
from ark_scaler.readers.batch import BatchReader
from ark_taskqueue import (
    Budget,
    Client,
    DemandSpan,
    Depth,
    QueueKeys,
    TaskQueueError,
    TokenUsage,
    read_depths,
    read_recent_demand,
    read_usages,
)

Ledger: TypeAlias = tuple[QueueKeys, Budget]
"""What is asked about: a queue's ledger, against a budget."""
Window: TypeAlias = tuple[QueueKeys, int]
"""What is asked about: a queue's record of demand, so many seconds back."""


def depth_reader(name: str, client: Client, timeout: float, metrics: ScalerMetrics) -> BatchReader[QueueKeys, Depth]:
    """Return what reads depths; a read's detail is the demand up to which `Depth.watch_after` is wanted.

    Args:
        name: the connection's name, for metrics.
        client: reads.
        timeout: see `BatchReader`.
        metrics: counts reads and errors.
    """
    estimates = metrics.estimated_depths.labels(redis=name)

    async def fetch(queues: Sequence[QueueKeys], details: Sequence[int]) -> Sequence[Depth | TaskQueueError]:
        depths = await read_depths(client, queues, details)
        estimates.inc(sum(isinstance(depth, Depth) and not depth.exact for depth in depths))
        return depths

    return BatchReader(fetch, timeout, metrics.redis_reads.labels(redis=name), metrics.redis_errors.labels(redis=name))


def usage_reader(name: str, client: Client, timeout: float, metrics: ScalerMetrics) -> BatchReader[Ledger, TokenUsage]:
    """Return what reads token ledgers; see `depth_reader`."""

    async def fetch(ledgers: Sequence[Ledger], _: Sequence[int]) -> Sequence[TokenUsage | TaskQueueError]:
        return await read_usages(client, ledgers)

    return BatchReader(fetch, timeout, metrics.usage_reads.labels(redis=name), metrics.redis_errors.labels(redis=name))


def demand_reader(
    name: str, client: Client, timeout: float, metrics: ScalerMetrics
) -> BatchReader[Window, Sequence[DemandSpan]]:
    """Return what reads the ends of records of demand; see `depth_reader`."""

    async def fetch(windows: Sequence[Window], _: Sequence[int]) -> Sequence[Sequence[DemandSpan] | TaskQueueError]:
        return await read_recent_demand(client, windows)

    return BatchReader(fetch, timeout, metrics.demand_reads.labels(redis=name), metrics.redis_errors.labels(redis=name))
