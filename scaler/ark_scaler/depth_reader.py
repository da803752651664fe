"""Read queues' depths for many callers at once."""

from __future__ import annotations

from collections.abc import Sequence

from ark_scaler.batch_reader import BatchReader
from ark_scaler.metrics import ScalerMetrics
from ark_taskqueue import Client, Depth, QueueKeys, TaskQueueError, read_depths


class DepthReader(BatchReader[QueueKeys, Depth]):
    """Reads depths; a read's detail is the demand up to which `Depth.watch_after` is wanted."""

    def __init__(self, name: str, client: Client, timeout: float, metrics: ScalerMetrics) -> None:
        """
        Args:
            name: the connection's name, for metrics.
            client: reads.
            timeout: see `BatchReader`.
            metrics: counts reads and errors.
        """
        super().__init__(timeout)
        self._client = client
        self._reads = metrics.redis_reads.labels(redis=name)
        self._errors = metrics.redis_errors.labels(redis=name)
        self._estimates = metrics.estimated_depths.labels(redis=name)

    async def fetch(self, keys: Sequence[QueueKeys], details: Sequence[int]) -> Sequence[Depth | TaskQueueError]:
        """Read depths in one pipeline.

        Raises:
            RedisUnavailable: nothing could be read.
        """
        return await read_depths(self._client, keys, details)

    def note(self, values: Sequence[Depth | TaskQueueError]) -> None:
        """Count what came of a pipeline."""
        self._reads.inc(len(values))
        self._errors.inc(sum(isinstance(value, TaskQueueError) for value in values))
        self._estimates.inc(sum(isinstance(value, Depth) and not value.exact for value in values))
