"""One replica of the operator: follows the cluster, works while it leads, and says how it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ark_api.status import Mode
from ark_kube.controller import Controller
from ark_kube.election import Election
from ark_kube.objects import Key
from ark_operator.cluster.cache import Cluster
from ark_operator.decision.pools import Pool, pool_of
from ark_operator.metrics import OperatorMetrics
from ark_operator.readers.keda import KedaWatch
from ark_operator.readers.queues import QueueReader
from ark_operator.readers.sizings import Sizer
from ark_operator.readers.usage import UsageReader
from ark_operator.requests import Requests
from ark_process.leaving import Readiness


@dataclass(frozen=True, slots=True)
class Intervals:
    """How long a replica waits, seconds."""

    resync: float
    """Between two looks at every agent, whatever the watches have said."""
    stuck: float
    """Until an API server that says nothing counts as a reason to start again."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a replica is made of; see `ark_operator.assembly`."""

    cluster: Cluster
    queues: QueueReader
    usage: UsageReader
    sizer: Sizer
    keda: KedaWatch
    controller: Controller[Key]
    election: Election
    requests: Requests


class Replica:
    """One replica.

    Args:
        parts: what it is made of.
        metrics: of this process.
        lease: name of the Lease that the leader holds.
        intervals: how long it waits for what.
    """

    def __init__(self, parts: Parts, metrics: OperatorMetrics, lease: str, intervals: Intervals) -> None:
        self._parts = parts
        self._metrics = metrics
        self._lease = lease
        self._intervals = intervals
        self.readiness = Readiness(self._not_ready, "operator")
        metrics.leads(lease, False)
        metrics.show_budgets(parts.usage.known)
        metrics.show_pools(self._pools)
        metrics.show_silence(self._silence)

    @property
    def cluster(self) -> Cluster:
        """What it knows of the cluster."""
        return self._parts.cluster

    async def run(self) -> None:
        """Follow the cluster, and reconcile while this replica leads; until cancelled.

        Raises:
            LostLease: leadership was lost, and this process must end.
            NotAllowed: a right is missing.
        """
        async with asyncio.TaskGroup() as group:
            for reflector in self.cluster.reflectors.values():
                group.create_task(reflector.run())
            group.create_task(self._parts.election.lead(self._lead))

    def _not_ready(self) -> str | None:
        """Return why this replica cannot work; a standby that follows the cluster is ready."""
        for name, reflector in self.cluster.reflectors.items():
            if not reflector.synced.is_set():
                return f"{name} are not listed yet"
        return self._stuck(self._intervals.stuck / 2)

    def not_alive(self) -> str | None:
        """Return why this process should be restarted."""
        return self._stuck(self._intervals.stuck)

    async def before_scrape(self) -> None:
        """Count what only metrics show, while this replica leads."""
        if self._parts.requests.heard:
            await self._parts.queues.count_dead_letters()

    def _stuck(self, longest: float) -> str | None:
        for name, seconds in self._silence().items():
            if seconds > longest:
                return f"the API server has said nothing about {name} for {seconds:.0f} s"
        return None

    def _silence(self) -> Mapping[str, float]:
        return {name: reflector.silent_seconds for name, reflector in self.cluster.reflectors.items()}

    def _pools(self, modes: Mapping[Key, Mode]) -> Iterator[Pool]:
        """Yield the pools whose modes are known, while this replica leads."""
        if not self._parts.requests.heard:
            return
        queues = self._parts.queues
        for key, mode in modes.items():
            agent = self.cluster.agent(key)
            if agent is not None:
                deployment = self.cluster.deployment(agent)
                yield pool_of(agent, mode, deployment, queues.shown(key), queues.dead_letters(key))

    async def _lead(self) -> None:
        """Write, until cancelled: every part that does so runs in here."""
        for reflector in self.cluster.reflectors.values():
            await reflector.synced.wait()
        parts = self._parts
        parts.requests.heard = True
        self._metrics.leads(self._lease, True)
        try:
            parts.requests.reconcile_all(self.cluster.agents)
            async with asyncio.TaskGroup() as group:
                for work in (parts.controller, parts.queues, parts.usage, parts.sizer, parts.keda):
                    group.create_task(work.run())
                group.create_task(self._resync())
        finally:
            parts.requests.heard = False
            self._metrics.leads(self._lease, False)

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(self._intervals.resync)
            self._parts.requests.reconcile_all(self.cluster.agents)
