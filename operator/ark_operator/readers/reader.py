"""What reading queues and reading ledgers have in common: one pipeline for each Redis and round."""

from __future__ import annotations

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog
from prometheus_client import Counter

from ark_api.tenancy import Tenancy
from ark_kube.objects import Key
from ark_operator.cluster.cache import Cluster
from ark_operator.decision.agent import Agent
from ark_operator.readers.schedule import ReadingSchedule, ReadRequest
from ark_process.outages import Outages
from ark_taskqueue import Client, TaskQueueError

_FEW = 20
"""So many statuses may change at the same moment; more are spread over half of the interval."""
_PATIENCE_SECONDS = 5.0
"""The most that a round may take."""

Item = TypeVar("Item")
"""What is read of an agent: its queue, its ledger."""
Reading = TypeVar("Reading")
"""What Redis says of it."""


@dataclass(frozen=True, slots=True)
class Counters:
    """What is counted of a reader's work, by Redis connection."""

    pipelines: Counter
    errors: Counter


class Reader(ABC, Generic[Item, Reading]):
    """Reads one thing of every agent: of some often, of all now and then, of single ones on request.

    Args:
        clients: Redis connections by name.
        cluster: what is there.
        touched: called with an agent that is to be reconciled, and after how many seconds.
        tenancy: who may read which queue, and its ledger.
        counters: its pipelines, and the readings that failed.
        few_seconds: time between two readings of the agents that need a fresh one.
        status_seconds: time between two readings of all of them.
        clock: monotonic time, seconds.
    """

    component: str
    """What it is called in logs."""
    unreadable: tuple[str, str]
    """What is logged when Redis cannot be read, and when it can again."""
    one_unreadable: tuple[str, str]
    """The same for one agent."""

    def __init__(
        self,
        clients: Mapping[str, Client],
        cluster: Cluster,
        touched: Callable[[Key, float], None],
        tenancy: Tenancy,
        counters: Counters,
        *,
        few_seconds: float,
        status_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients = clients
        self._cluster = cluster
        self._touched = touched
        self._tenancy = tenancy
        self._pipelines = counters.pipelines
        self._errors = counters.errors
        self._status_seconds = status_seconds
        self._clock = clock
        self._schedule = ReadingSchedule(
            clients, self._round, few_seconds=few_seconds, all_seconds=status_seconds, clock=clock
        )
        log = structlog.get_logger(component=self.component)
        self._outages = Outages(log, "redis", *self.unreadable)
        self._unreadable = Outages(log, "agent", *self.one_unreadable)

    @abstractmethod
    def item_of(self, agent: Agent) -> Item | None:
        """Return what is to be read of an agent; None where nothing is, or it may not be."""

    @abstractmethod
    def urgent(self) -> Iterable[Key]:
        """Return the agents that need a fresh reading."""

    @abstractmethod
    async def read(self, client: Client, items: Sequence[Item]) -> Sequence[Reading | TaskQueueError]:
        """Read items, in order, in one pipeline."""

    @abstractmethod
    def take(self, name: str, readings: Mapping[Key, tuple[Item, Reading]], *, whole: bool) -> Iterable[Key]:
        """Keep what was read; return the agents whose statuses show something else.

        Args:
            name: the Redis connection.
            readings: what was read, by agent.
            whole: whether all agents of the connection were to be read.
        """

    @abstractmethod
    def keep(self, agents: set[Key]) -> None:
        """Forget all other agents."""

    def delay(self, spread: float) -> float:
        """Return how long a status may wait for its new numbers, seconds."""
        return spread

    async def run(self) -> None:
        """Read until cancelled; no Redis waits for another."""
        await self._schedule.run()

    async def _round(self, name: str, request: ReadRequest) -> None:
        keys = list(request.asked)
        if request.all:
            agents = set(self._cluster.agents)
            self._unreadable.keep({"/".join(key) for key in agents})
            self.keep(agents)
            keys = list(self._cluster.agents)
        elif request.few:
            keys += self.urgent()
        items = self._items(name, keys)
        if items:
            await self._read(name, items, whole=request.all)

    def _items(self, name: str, keys: Iterable[Key]) -> dict[Key, Item]:
        """Return what is to be read of agents whose queues lie in one Redis."""
        found = {}
        for key in dict.fromkeys(keys):
            agent = self._cluster.agent(key)
            item = None if agent is None or agent.redis != name else self.item_of(agent)
            if item is not None:
                found[key] = item
        return found

    async def _read(self, name: str, items: Mapping[Key, Item], *, whole: bool) -> None:
        self._pipelines.labels(name).inc()
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                answers = await self.read(self._clients[name], list(items.values()))
        except (TaskQueueError, TimeoutError) as error:
            self._errors.labels(name).inc(len(items))
            self._outages.fails(name, str(error) or f"no answer within {_PATIENCE_SECONDS:g} s")
            return
        self._outages.answers(name)
        readings: dict[Key, tuple[Item, Reading]] = {}
        for (key, item), answer in zip(items.items(), answers, strict=True):
            if isinstance(answer, TaskQueueError):
                self._errors.labels(name).inc()
                self._unreadable.fails("/".join(key), str(answer))
            else:
                self._unreadable.answers("/".join(key))
                readings[key] = item, answer
        changed = list(self.take(name, readings, whole=whole))
        spread = self._status_seconds / 2 if len(changed) > _FEW else 0.0
        for key in changed:
            self._touched(key, self.delay(random.uniform(0.0, spread)))  # noqa: S311 - no secret
