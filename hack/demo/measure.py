"""What the demo saw: samples over time, and what became of every task."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ark_taskqueue import Client, Producer, QueueKeys, read_depth
from hack.demo.clock import DemoClock
from hack.demo.load import Load

_PAGE = 200


@dataclass(frozen=True, slots=True)
class Sample:
    """The state at one moment."""

    at: float
    """Trace seconds."""
    submitted: int
    waiting: int
    in_flight: int
    replicas: int
    tokens: int = 0
    """Spent in the last 24 hours of the ledger."""

    @property
    def done(self) -> int:
        """Tasks that left the queue."""
        return self.submitted - self.waiting - self.in_flight


class Replicated(Protocol):
    """What has replicas."""

    @property
    def replicas(self) -> int:
        """``spec.replicas``."""


class Sampler:
    """Looks at the queue and the deployment, at a fixed rhythm."""

    def __init__(self, client: Client, queue: QueueKeys, deployment: Replicated, load: Load, clock: DemoClock) -> None:
        self._client = client
        self._queue = queue
        self._deployment = deployment
        self._load = load
        self._clock = clock
        self.samples: list[Sample] = []

    async def look(self) -> Sample:
        """Take a sample."""
        depth = await read_depth(self._client, self._queue)
        sample = Sample(
            self._clock.now(),
            max(len(self._load.task_ids), depth.demand),
            depth.waiting,
            depth.in_flight,
            self._deployment.replicas,
        )
        self.samples.append(sample)
        return sample

    @property
    def replica_seconds(self) -> float:
        """Replicas times trace seconds, summed up."""
        return sum(
            earlier.replicas * (later.at - earlier.at)
            for earlier, later in zip(self.samples, self.samples[1:], strict=False)
        )


@dataclass(slots=True)
class Outcomes:
    """What became of the submitted tasks."""

    submitted: int
    completed: int = 0
    retried: int = 0
    """Completed in a later attempt than the first."""
    dead: int = 0
    waits: list[float] = field(default_factory=list)
    """From submission to the claim of each completed task, trace seconds."""

    @property
    def lost(self) -> int:
        """Neither completed nor dead letters."""
        return self.submitted - self.completed - self.dead

    def wait_percentile(self, percent: int) -> float:
        """Return a percentile of the waits, trace seconds."""
        if len(self.waits) < 2:
            return self.waits[0] if self.waits else 0.0
        return statistics.quantiles(self.waits, n=100, method="inclusive")[percent - 1]


async def outcomes(producer: Producer, task_ids: Sequence[str], speed: float) -> Outcomes:
    """Read the result of every submitted task."""
    found = Outcomes(submitted=len(task_ids))
    for start in range(0, len(task_ids), _PAGE):
        for result in await asyncio.gather(*(producer.result(task_id) for task_id in task_ids[start : start + _PAGE])):
            if result is None:
                continue
            if result.status == "dead":
                found.dead += 1
                continue
            found.completed += 1
            found.retried += result.attempts > 1
            found.waits.append(result.waited_ms / 1000 * speed)
    return found
