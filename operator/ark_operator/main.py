"""The operator as a process: wires its parts, starts and stops them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import structlog

from ark_api.status import Mode
from ark_kube.client import Client, transport
from ark_kube.controller import Controller
from ark_kube.election import Election, LostLease
from ark_kube.errors import NoApiServer
from ark_kube.events import Events
from ark_kube.objects import Key
from ark_kube.rate_limit import RateLimit
from ark_kube.reflector import NotAllowed
from ark_kube.workqueue import WorkQueue
from ark_operator.cluster import Cluster
from ark_operator.inputs import Inputs
from ark_operator.keda_watch import KedaWatch
from ark_operator.metrics import OperatorMetrics
from ark_operator.observed import Keda, Usage
from ark_operator.pools import Pool, pool_of
from ark_operator.queue_reader import QueueReader
from ark_operator.reconciler import Reconciler
from ark_operator.settings import OperatorSettings
from ark_operator.usage_reader import UsageReader
from ark_process import http, program, settings
from ark_process.certificate import BadCertificate
from ark_process.exceptions import leaves
from ark_taskqueue import connect

_COMPONENT = "ark-operator"
_RETRIES_PER_SECOND = 50.0
_RETRIES_AT_ONCE = 200


class Operator:
    """One replica."""

    def __init__(
        self,
        config: OperatorSettings,
        client: Client,
        lease_client: Client,
        stack: AsyncExitStack,
        metrics: OperatorMetrics,
        usage: Callable[[Key], Usage | None] | None,
    ) -> None:
        """
        Args:
            config: the settings.
            client: for everything but the Lease.
            lease_client: for the Lease, which must not wait for anything else.
            stack: closes what is opened.
            metrics: of this process.
            usage: token usage by agent, for tests; what the ledgers say where None.
        """
        identity = config.identity or f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        self._config = config
        self._metrics = metrics
        self._working = False
        self._queue: WorkQueue[Key] = WorkQueue(
            retries=RateLimit(_RETRIES_PER_SECOND, _RETRIES_AT_ONCE), metrics=metrics
        )
        self.cluster = Cluster(client, config.watch_namespace, self._touch, self._wake, self._keda_installed)
        clients = {
            name: connect(url, timeout=_redis_timeout(config), max_connections=3, name=_COMPONENT)
            for name, url in config.connections.items()
        }
        for redis in clients.values():
            stack.push_async_callback(redis.aclose)
        self._reader = QueueReader(
            clients,
            self.cluster,
            self._touch_after,
            config.tenancy,
            metrics,
            burst_seconds=config.burst_seconds,
            status_seconds=config.status_seconds,
        )
        self._usage = UsageReader(
            clients,
            self.cluster,
            self._touch_after,
            config.tenancy,
            metrics,
            usage_seconds=config.usage_seconds,
            status_seconds=config.status_seconds,
        )
        metrics.show_budgets(self._usage.known)
        metrics.show_pools(self._pools)
        self._inputs = Inputs(self._reader, self._usage.usage if usage is None else usage)
        self._keda = KedaWatch(
            client,
            config.keda_namespace,
            config.keda_lease,
            self._keda_down,
            silent_seconds=config.keda_silent_seconds,
        )
        events = Events(client, _COMPONENT, identity)
        reconciler = Reconciler(client, events, self.cluster, self._inputs, config.options, metrics)
        self._controller = Controller(self._queue, reconciler.reconcile, metrics, workers=config.workers)
        self._election = Election(lease_client, config.namespace, config.lease_name, identity, config.terms)
        metrics.leads(config.lease_name, False)
        metrics.show_silence(self._silence)

    async def run(self) -> None:
        """Follow the cluster, and reconcile while this replica leads; until cancelled.

        Raises:
            LostLease: leadership was lost, and this process must end.
            NotAllowed: a right is missing.
        """
        async with asyncio.TaskGroup() as group:
            for reflector in self.cluster.reflectors.values():
                group.create_task(reflector.run())
            group.create_task(self._election.lead(self._lead))

    def not_ready(self) -> str | None:
        """Answer why this replica cannot work; a standby that follows the cluster is ready."""
        for name, reflector in self.cluster.reflectors.items():
            if not reflector.synced.is_set():
                return f"{name} are not listed yet"
        return self._stuck(self._config.stuck_seconds / 2)

    def not_alive(self) -> str | None:
        """Answer why this process should be restarted."""
        return self._stuck(self._config.stuck_seconds)

    async def before_scrape(self) -> None:
        """Count what only metrics show, while this replica leads."""
        if self._working:
            await self._reader.count_dead_letters()

    def _stuck(self, longest: float) -> str | None:
        for name, seconds in self._silence().items():
            if seconds > longest:
                return f"the API server has said nothing about {name} for {seconds:.0f} s"
        return None

    def _silence(self) -> Mapping[str, float]:
        return {name: reflector.silent_seconds for name, reflector in self.cluster.reflectors.items()}

    def _pools(self, modes: Mapping[Key, Mode]) -> Iterator[Pool]:
        """Give the pools whose modes are known, while this replica leads."""
        if not self._working:
            return
        for key, mode in modes.items():
            agent = self.cluster.agent(key)
            if agent is not None:
                there = self.cluster.deployment(agent)
                yield pool_of(agent, mode, there, self._reader.shown(key), self._reader.dead_letters(key))

    async def _lead(self) -> None:
        """Write, until cancelled: every part that does so runs in here."""
        for reflector in self.cluster.reflectors.values():
            await reflector.synced.wait()
        self._working = True
        self._metrics.leads(self._config.lease_name, True)
        try:
            self._touch_all()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._controller.run())
                group.create_task(self._reader.run())
                group.create_task(self._usage.run())
                group.create_task(self._keda.run())
                group.create_task(self._resync())
        finally:
            self._working = False
            self._metrics.leads(self._config.lease_name, False)

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(self._config.resync_seconds)
            self._touch_all()

    def _touch(self, key: Key) -> None:
        if self._working:
            self._queue.add(key)

    def _touch_after(self, key: Key, seconds: float) -> None:
        if self._working:
            self._queue.add_after(key, seconds)

    def _touch_all(self) -> None:
        for key in self.cluster.agents:
            self._touch(key)

    def _wake(self, key: Key) -> None:
        if self._working:
            self._reader.look_at(key)

    def _keda_installed(self, installed: bool) -> None:
        self._set_keda(Keda(installed, self._inputs.keda.down))

    def _keda_down(self, down: str) -> None:
        self._set_keda(Keda(self._inputs.keda.installed, down))

    def _set_keda(self, keda: Keda) -> None:
        self._inputs.keda = keda
        self._metrics.keda(keda.installed and not keda.down)
        for key in self.cluster.agents:
            agent = self.cluster.agent(key)
            if agent is not None and agent.autoscaling is not None:
                self._touch(key)


def _redis_timeout(config: OperatorSettings) -> float:
    return max(1.0, config.status_seconds / 2)


@asynccontextmanager
async def running(
    config: OperatorSettings, usage: Callable[[Key], Usage | None] | None = None
) -> AsyncIterator[tuple[Operator, int]]:
    """Make a replica and serve its HTTP endpoint; gives it, to be run, and the port.

    Raises:
        NoApiServer: nothing says which API server to talk to.
        PortInUse: the HTTP server's address cannot be listened on.
        BadCertificate: the HTTP server's certificate cannot be used.
    """
    metrics = OperatorMetrics(config.workers)
    async with AsyncExitStack() as stack:
        official = await stack.enter_async_context(transport(_kubeconfig(config)))
        limit = RateLimit(config.api_qps, config.api_burst)
        client = Client(official, _COMPONENT, limit, metrics.answered)
        lease_client = Client(official, _COMPONENT, answered=metrics.answered)
        operator = Operator(config, client, lease_client, stack, metrics, usage)
        port = await stack.enter_async_context(
            http.serve(
                config.host,
                config.http_port,
                metrics.registry,
                operator.not_ready,
                operator.before_scrape,
                not_alive=operator.not_alive,
                certificate=config.certificate,
                access=config.metrics_access,
            )
        )
        yield operator, port


def _kubeconfig(config: OperatorSettings) -> Path | None:
    named = config.kubeconfig or os.environ.get("KUBECONFIG")
    return Path(named) if named else None


async def _run(config: OperatorSettings) -> int:
    """Run until a signal; answer the exit code, 1 where the operator cannot go on."""
    log = structlog.get_logger(component="operator")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(config) as (operator, port):
        log.info("operator is listening", http_port=port, tls=config.tls_cert is not None)
        work = asyncio.create_task(operator.run())
        stopping = asyncio.create_task(stop.wait())
        code = 0
        try:
            await asyncio.wait([work, stopping], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if stop.is_set():
                work.cancel()
                await asyncio.wait([work])
            if not work.cancelled():
                await work
            log.info("operator has stopped")
        except* (LostLease, NotAllowed) as errors:
            code = 1
            log.error("operator ends", errors=[str(error) for error in leaves(errors)])
    return code


def main() -> None:
    """Run the operator until SIGTERM or Ctrl-C."""
    config = program.begin(OperatorSettings)
    try:
        sys.exit(asyncio.run(_run(config)))
    except (NoApiServer, http.PortInUse, BadCertificate) as error:
        settings.exit_with_usage_error(OperatorSettings, [str(error)])
