"""Reads the queues of agents: those of running, autoscaled pools every second, all of them every few seconds.

What it finds goes into bursts at once, and into statuses at the slower pace.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from ark_api.status import Mode
from ark_api.tenancy import Tenancy
from ark_kube.objects import Key, Object
from ark_operator.cluster.cache import Cluster
from ark_operator.decision.agent import Agent
from ark_operator.decision.burst import burst_replicas, is_allowed
from ark_operator.metrics import OperatorMetrics
from ark_operator.readers.reader import Counters, Reader
from ark_taskqueue import Client, Depth, QueueKeys, TaskQueueError, count_dead_letters, read_depths

_SCRAPE_SECONDS = 2.0
"""The most that a scrape waits for a Redis."""


class QueueReader(Reader[QueueKeys, Depth]):
    """Knows how deep queues are.

    Args:
        clients, cluster, touched, tenancy, status_seconds, clock: see `Reader`.
        metrics: counts pipelines and errors.
        burst_seconds: time between two readings of the queues of running pools.
    """

    component = "queues"
    unreadable = ("cannot read queues: no bursts, statuses show old numbers", "queues can be read again")
    one_unreadable = (
        "cannot read a queue: no bursts, its status shows old numbers",
        "the queue can be read again",
    )

    def __init__(
        self,
        clients: Mapping[str, Client],
        cluster: Cluster,
        touched: Callable[[Key, float], None],
        tenancy: Tenancy,
        metrics: OperatorMetrics,
        *,
        burst_seconds: float,
        status_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(
            clients,
            cluster,
            touched,
            tenancy,
            Counters(metrics.queue_pipelines, metrics.queue_errors),
            few_seconds=burst_seconds,
            status_seconds=status_seconds,
            clock=clock,
        )
        self._burst_seconds = burst_seconds
        self._fresh: dict[Key, tuple[float, QueueKeys, Depth]] = {}
        self._shown: dict[Key, Depth] = {}
        self._dead_letters: dict[Key, int] = {}

    def fresh(self, agent: Agent) -> Depth | None:
        """Return the depth of an agent's queue, where it is fresh enough for a burst."""
        found = self._fresh.get(agent.key)
        if found is None or self._clock() - found[0] > self._burst_seconds or found[1] != self.item_of(agent):
            return None
        return found[2]

    def shown(self, key: Key) -> Depth | None:
        """Return a queue's depth as the status should show it."""
        return self._shown.get(key)

    def dead_letters(self, key: Key) -> int | None:
        """Return how many tasks of a queue had failed for good at the last scrape."""
        return self._dead_letters.get(key)

    def forget(self, key: Key) -> None:
        """Forget the depth that bursts go by."""
        self._fresh.pop(key, None)

    def look_at(self, key: Key) -> None:
        """Read an agent's queue at once: its pool has just been woken."""
        agent = self._cluster.agent(key)
        if agent is not None:
            self._schedule.ask(agent.redis, key)

    def item_of(self, agent: Agent) -> QueueKeys | None:
        """Return an agent's queue, where it may be read."""
        return agent.queue_within(self._tenancy)

    def urgent(self) -> Iterable[Key]:
        """Yield the agents whose pools may be raised."""
        for key in self._cluster.agents:
            agent = self._cluster.agent(key)
            if agent is None or agent.autoscaling is None or not is_allowed(agent.autoscaling):
                continue
            if agent.status.get("mode") == Mode.AUTO and _replicas(self._cluster.deployment(agent)) > 0:
                yield key

    async def read(self, client: Client, items: Sequence[QueueKeys]) -> Sequence[Depth | TaskQueueError]:
        """Read queues' depths."""
        return await read_depths(client, items)

    def take(self, name: str, readings: Mapping[Key, tuple[QueueKeys, Depth]], *, whole: bool) -> Iterable[Key]:  # noqa: ARG002
        """Keep depths; an agent whose pool is to be raised is reconciled at once."""
        now = self._clock()
        for key, (queue, depth) in readings.items():
            self._fresh[key] = (now, queue, depth)
            if self._is_burst(key, depth):
                self._touched(key, 0.0)
            if whole:
                self._shown[key] = depth
                if self._differs(key, depth):
                    yield key

    def keep(self, agents: set[Key]) -> None:
        """Forget the queues of all other agents."""
        for known in (self._fresh, self._shown, self._dead_letters):
            for key in known.keys() - agents:
                del known[key]

    async def count_dead_letters(self) -> None:
        """Count the dead letters of all queues, for a scrape: nothing else asks for them.

        A count that fails leaves the one before, and an error in the metrics.
        """
        async with asyncio.TaskGroup() as group:
            for name in self._clients:
                group.create_task(self._count_dead_letters(name))

    async def _count_dead_letters(self, name: str) -> None:
        queues = self._items(name, list(self._cluster.agents))
        if not queues:
            return
        try:
            async with asyncio.timeout(_SCRAPE_SECONDS):
                counts = await count_dead_letters(self._clients[name], list(queues.values()))
        except (TaskQueueError, TimeoutError):
            self._errors.labels(name).inc(len(queues))
            return
        for key, count in zip(queues, counts, strict=True):
            if isinstance(count, TaskQueueError):
                self._errors.labels(name).inc()
            else:
                self._dead_letters[key] = count

    def _is_burst(self, key: Key, depth: Depth) -> bool:
        agent = self._cluster.agent(key)
        if agent is None or agent.status.get("mode") != Mode.AUTO:
            return False
        deployment = self._cluster.deployment(agent)
        has = int(((deployment or {}).get("status") or {}).get("replicas") or 0)
        return burst_replicas(agent, depth, _replicas(deployment), has) is not None

    def _differs(self, key: Key, depth: Depth) -> bool:
        """Return whether the status shows other numbers."""
        agent = self._cluster.agent(key)
        queue = agent.status.get("queue") if agent is not None else None
        return bool(queue != {"waiting": depth.waiting, "inFlight": depth.in_flight})


def _replicas(deployment: Object | None) -> int:
    return 0 if deployment is None else int((deployment.get("spec") or {}).get("replicas", 1))
