"""Submit a trace's requests as tasks, each at its moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ark_cli.trace import Arrival
from ark_taskqueue import Producer
from hack.demo.clock import DemoClock


def service_seconds(arrival: Arrival) -> float:
    """Return how long a request takes a worker, trace seconds.

    An assumption, of the size of a hosted model's: 0.4 s, 0.2 ms for each token read, 25 ms for each token written.
    """
    return 0.4 + 0.0002 * arrival.input_tokens + 0.025 * arrival.output_tokens


class Load:
    """Replays a trace into a queue.

    Args:
        producer: submits.
        arrivals: the trace.
        clock: says when.
        service_seconds: how long a request takes a worker, trace seconds.
    """

    def __init__(
        self,
        producer: Producer,
        arrivals: Sequence[Arrival],
        clock: DemoClock,
        service_seconds: Callable[[Arrival], float] = service_seconds,
    ) -> None:
        self._service_seconds = service_seconds
        self._producer = producer
        self._arrivals = arrivals
        self._clock = clock
        self.task_ids: list[str] = []
        """Every task that was submitted."""

    @property
    def done(self) -> bool:
        """Whether the whole trace was submitted."""
        return len(self.task_ids) == len(self._arrivals)

    async def run(self) -> None:
        """Submit every request at its moment; those that are due together go out together."""
        async with asyncio.TaskGroup() as submissions:
            for number, arrival in enumerate(self._arrivals):
                await self._clock.sleep_until(arrival.at)
                submissions.create_task(self._submit(number, arrival))
                if number % 50 == 0:
                    await asyncio.sleep(0)  # an overdue burst does not keep everything else waiting

    async def _submit(self, number: int, arrival: Arrival) -> None:
        submission = await self._producer.submit(
            f"request {number}",
            meta={
                "latency_seconds": self._service_seconds(arrival) / self._clock.speed,
                "input_tokens": arrival.input_tokens,
                "output_tokens": arrival.output_tokens,
            },
            idempotency_key=str(number),
        )
        self.task_ids.append(submission.task_id)
