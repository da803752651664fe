"""How many dead letters the queues of one Redis have, counted for a scrape: nothing else here asks for them."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from ark_scaler.metrics import ScalerMetrics
from ark_taskqueue import Client, QueueKeys, TaskQueueError, count_dead_letters

_PAGE = 200


class DeadLetterGauge:
    """Keeps ``ark_queue_dead_letters`` of one Redis up to date.

    Args:
        name: the connection's name.
        client: reads.
        metrics: has the gauge.
    """

    def __init__(self, name: str, client: Client, metrics: ScalerMetrics) -> None:
        self._name = name
        self._client = client
        self._gauge = metrics.dead_letters
        self._shown: set[str] = set()
        self._refused: set[str] = set()
        self._log = structlog.get_logger(component="dead-letters").bind(redis=name)

    async def refresh(self, queues: Sequence[QueueKeys]) -> None:
        """Count the dead letters of these queues, and show no others; those that cannot be counted stay as they are."""
        by_name = {queue.name: queue for queue in queues}  # groups of one stream share its dead letters
        for gone in self._shown - by_name.keys():
            self._gauge.remove(self._name, gone)
        self._shown &= by_name.keys()
        unique = list(by_name.values())
        for start in range(0, len(unique), _PAGE):
            page = unique[start : start + _PAGE]
            try:
                counts = await count_dead_letters(self._client, page)
            except TaskQueueError:
                return  # Redis is away, and that is shown elsewhere
            for queue, count in zip(page, counts, strict=True):
                self._show(queue, count)

    def _show(self, queue: QueueKeys, count: int | TaskQueueError) -> None:
        if isinstance(count, int):
            self._gauge.labels(self._name, queue.name).set(count)
            self._shown.add(queue.name)
            self._refused.discard(queue.name)
        elif queue.name not in self._refused:
            self._refused.add(queue.name)
            self._log.warning("dead letters cannot be counted", queue=queue.name, error=str(count))
