"""Reads the queues of agents: those of running, autoscaled pools every second, all of them every few seconds.

One pipeline for each Redis and look. What it finds goes into bursts at once, and into statuses at the slower pace.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from ark_api.status import Mode
from ark_api.tenancy import Tenancy
from ark_kube.objects import Key, Object
from ark_operator.agent import Agent
from ark_operator.burst import burst_replicas, is_allowed
from ark_operator.cluster import Cluster
from ark_operator.metrics import OperatorMetrics
from ark_operator.rounds import Due, Rounds
from ark_process.outages import Outages
from ark_taskqueue import (
    Client,
    Depth,
    QueueKeys,
    TaskQueueError,
    count_dead_letters,
    read_depths,
)

_FEW = 20
"""So many statuses may change at the same moment; more are spread over half of the interval."""
_PATIENCE_SECONDS = 5.0
"""The most that a look may take."""
_SCRAPE_SECONDS = 2.0
"""The most that a scrape waits for a Redis."""


class QueueReader:
    """Knows how deep queues are."""

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
        """
        Args:
            clients: Redis connections by name.
            cluster: what is there.
            touched: called with an agent that is to be reconciled, and after how many seconds.
            tenancy: who may read which queue.
            metrics: counts pipelines and errors.
            burst_seconds: time between two looks at the queues of running pools.
            status_seconds: time between two looks at all queues.
            clock: monotonic time, seconds.
        """
        self._clients = clients
        self._cluster = cluster
        self._touched = touched
        self._tenancy = tenancy
        self._metrics = metrics
        self._burst_seconds = burst_seconds
        self._status_seconds = status_seconds
        self._clock = clock
        self._fresh: dict[Key, tuple[float, QueueKeys, Depth]] = {}
        self._shown: dict[Key, Depth] = {}
        self._dead_letters: dict[Key, int] = {}
        self._rounds = Rounds(clients, self._round, few_seconds=burst_seconds, all_seconds=status_seconds, clock=clock)
        log = structlog.get_logger(component="queues")
        self._outages = Outages(
            log,
            "redis",
            "queues cannot be read: no bursts, and old numbers in statuses",
            "queues can be read again",
        )
        self._unreadable = Outages(
            log,
            "agent",
            "a queue cannot be read: no bursts, and old numbers in the status",
            "the queue can be read again",
        )

    def fresh(self, agent: Agent) -> Depth | None:
        """Answer the depth of an agent's queue, where it is fresh enough for a burst."""
        found = self._fresh.get(agent.key)
        if (
            found is None
            or self._clock() - found[0] > self._burst_seconds
            or found[1] != agent.queue_within(self._tenancy)
        ):
            return None
        return found[2]

    def shown(self, key: Key) -> Depth | None:
        """Answer a queue's depth as the status should show it."""
        return self._shown.get(key)

    def dead_letters(self, key: Key) -> int | None:
        """Answer how many tasks of a queue had failed for good at the last scrape."""
        return self._dead_letters.get(key)

    def forget(self, key: Key) -> None:
        """Forget the depth that bursts go by."""
        self._fresh.pop(key, None)

    def look_at(self, key: Key) -> None:
        """Read an agent's queue at once: its pool has just been woken."""
        agent = self._cluster.agent(key)
        if agent is not None:
            self._rounds.ask(agent.redis, key)

    async def run(self) -> None:
        """Look until cancelled; no Redis waits for another."""
        await self._rounds.run()

    async def _round(self, name: str, due: Due) -> None:
        keys = list(due.asked)
        if due.all:
            self._forget_gone()
            keys = list(self._cluster.agents)
        elif due.few:
            keys += self._running()
        queues = self._queues(name, keys)
        if queues:
            await self._read(name, queues, show=due.all)

    def _running(self) -> Iterable[Key]:
        """Give the agents whose pools may be raised."""
        for key in self._cluster.agents:
            agent = self._cluster.agent(key)
            if agent is None or agent.autoscaling is None or not is_allowed(agent.autoscaling):
                continue
            if agent.status.get("mode") == Mode.AUTO and _replicas(self._cluster.deployment(agent)) > 0:
                yield key

    def _queues(self, name: str, keys: Sequence[Key]) -> dict[Key, QueueKeys]:
        """Answer the queues of agents that lie in one Redis, and may be read."""
        found = {}
        for key in dict.fromkeys(keys):
            agent = self._cluster.agent(key)
            queue = None if agent is None or agent.redis != name else agent.queue_within(self._tenancy)
            if queue is not None:
                found[key] = queue
        return found

    async def _read(self, name: str, queues: Mapping[Key, QueueKeys], *, show: bool) -> None:
        self._metrics.queue_pipelines.labels(name).inc()
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                depths = await read_depths(self._clients[name], list(queues.values()))
        except (TaskQueueError, TimeoutError) as error:
            self._metrics.queue_errors.labels(name).inc(len(queues))
            self._outages.fails(name, str(error) or f"no answer within {_PATIENCE_SECONDS:g} s")
            return
        self._outages.answers(name)
        now = self._clock()
        changed = []
        for (key, queue), depth in zip(queues.items(), depths, strict=True):
            if isinstance(depth, TaskQueueError):
                self._metrics.queue_errors.labels(name).inc()
                self._unreadable.fails("/".join(key), str(depth))
                continue
            self._unreadable.answers("/".join(key))
            self._fresh[key] = (now, queue, depth)
            if self._is_burst(key, depth):
                self._touched(key, 0.0)
            if show:
                self._shown[key] = depth
                if self._differs(key, depth):
                    changed.append(key)
        spread = self._status_seconds / 2 if len(changed) > _FEW else 0.0
        for key in changed:
            self._touched(key, random.uniform(0.0, spread))  # noqa: S311 - no secret

    async def count_dead_letters(self) -> None:
        """Count the dead letters of all queues, for a scrape: nothing else asks for them.

        A count that fails leaves the one before, and an error in the metrics.
        """
        async with asyncio.TaskGroup() as group:
            for name in self._clients:
                group.create_task(self._count_dead_letters(name))

    async def _count_dead_letters(self, name: str) -> None:
        queues = self._queues(name, list(self._cluster.agents))
        if not queues:
            return
        try:
            async with asyncio.timeout(_SCRAPE_SECONDS):
                counts = await count_dead_letters(self._clients[name], list(queues.values()))
        except (TaskQueueError, TimeoutError):
            self._metrics.queue_errors.labels(name).inc(len(queues))
            return
        for key, count in zip(queues, counts, strict=True):
            if isinstance(count, TaskQueueError):
                self._metrics.queue_errors.labels(name).inc()
            else:
                self._dead_letters[key] = count

    def _is_burst(self, key: Key, depth: Depth) -> bool:
        agent = self._cluster.agent(key)
        if agent is None or agent.autoscaling is None or agent.status.get("mode") != Mode.AUTO:
            return False
        there = self._cluster.deployment(agent)
        has = int(((there or {}).get("status") or {}).get("replicas") or 0)
        return burst_replicas(agent.autoscaling, depth, _replicas(there), has) is not None

    def _differs(self, key: Key, depth: Depth) -> bool:
        """Whether the status shows other numbers."""
        agent = self._cluster.agent(key)
        queue = agent.status.get("queue") if agent is not None else None
        return bool(queue != {"waiting": depth.waiting, "inFlight": depth.in_flight})

    def _forget_gone(self) -> None:
        there = set(self._cluster.agents)
        self._unreadable.keep({"/".join(key) for key in there})
        for key in self._fresh.keys() - there:
            del self._fresh[key]
        for key in self._shown.keys() - there:
            del self._shown[key]
        for key in self._dead_letters.keys() - there:
            del self._dead_letters[key]


def _replicas(there: Object | None) -> int:
    return 0 if there is None else int((there.get("spec") or {}).get("replicas", 1))
