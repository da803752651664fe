"""A load without an end on one queue."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from ark_taskqueue import Producer, TaskQueueError

TASKS_PER_SECOND = 8.0
TASK_SECONDS = 0.5


@dataclass(slots=True)
class Load:
    """Tasks for the main pool, without an end; each is submitted until Redis has taken it."""

    producer: Producer
    per_second: float = TASKS_PER_SECOND
    accepted: dict[str, float] = field(default_factory=dict)
    """When each was accepted, monotonic seconds."""

    async def run(self) -> None:
        """Submit until cancelled."""
        number = 0
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._submit(number))
                number += 1
                await asyncio.sleep(max(0.0, began + number / self.per_second - time.monotonic()))

    async def _submit(self, number: int) -> None:
        while True:
            try:
                submission = await self.producer.submit("x", meta=meta(TASK_SECONDS), idempotency_key=f"task-{number}")
            except TaskQueueError:
                await asyncio.sleep(0.2)  # the same key: not a second one where the first has arrived after all
            else:
                self.accepted[submission.task_id] = time.monotonic()
                return


def meta(seconds: float) -> dict[str, Any]:
    """Return the echo provider's orders for a task that takes so long and costs 20 tokens."""
    return {"latency_seconds": seconds, "input_tokens": 10, "output_tokens": 10}
