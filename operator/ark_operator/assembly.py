"""Puts a replica together from the settings."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ark_kube.client import Client, transport
from ark_kube.controller import Controller
from ark_kube.election import Election
from ark_kube.events import Events
from ark_kube.objects import Key
from ark_kube.rate_limit import RateLimit
from ark_kube.workqueue import WorkQueue
from ark_operator.cluster.cache import Cluster
from ark_operator.cluster.sources import Sources
from ark_operator.metrics import OperatorMetrics
from ark_operator.readers.keda import KedaWatch
from ark_operator.readers.queues import QueueReader
from ark_operator.readers.sizings import Sizer
from ark_operator.readers.usage import UsageReader
from ark_operator.reconciler import Reconciler
from ark_operator.replica import Intervals, Parts, Replica
from ark_operator.requests import Requests
from ark_operator.settings import OperatorSettings
from ark_process import http
from ark_taskqueue import Client as Redis
from ark_taskqueue import TokenUsage, connect

_COMPONENT = "ark-operator"
_RETRIES_PER_SECOND = 50.0
_RETRIES_AT_ONCE = 200


@asynccontextmanager
async def running(
    config: OperatorSettings, usage: Callable[[Key], TokenUsage | None] | None = None
) -> AsyncIterator[tuple[Replica, int]]:
    """Make a replica and serve its HTTP endpoint; gives it, to be run, and the port.

    Args:
        config: the settings.
        usage: token usage by agent, for tests; what the ledgers say where None.

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
        # The Lease must not wait for anything else.
        lease_client = Client(official, _COMPONENT, answered=metrics.answered)
        redis = _redis_clients(config, stack)
        parts = _assemble(config, client, lease_client, redis, metrics, usage)
        intervals = Intervals(config.resync_seconds, config.stuck_seconds)
        replica = Replica(parts, metrics, config.lease_name, intervals)
        port = await stack.enter_async_context(
            http.serve(
                config.host,
                config.http_port,
                metrics.registry,
                replica.readiness.told,
                replica.before_scrape,
                not_alive=replica.not_alive,
                certificate=config.certificate,
                access=config.metrics_access,
            )
        )
        yield replica, port


def _assemble(
    config: OperatorSettings,
    client: Client,
    lease_client: Client,
    redis: Mapping[str, Redis],
    metrics: OperatorMetrics,
    usage: Callable[[Key], TokenUsage | None] | None,
) -> Parts:
    identity = config.identity or f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
    queue: WorkQueue[Key] = WorkQueue(retries=RateLimit(_RETRIES_PER_SECOND, _RETRIES_AT_ONCE), metrics=metrics)
    requests = Requests(queue)

    def woken(key: Key) -> None:
        if requests.heard:
            queues.look_at(key)

    def keda_changed(**changes: Any) -> None:
        sources.keda = replace(sources.keda, **changes)
        metrics.keda(sources.keda.installed and not sources.keda.down)
        agents = (agent for key in cluster.agents if (agent := cluster.agent(key)) is not None)
        requests.reconcile_all([agent.key for agent in agents if agent.autoscaling is not None])

    cluster = Cluster(
        client,
        config.watch_namespace,
        requests.reconcile,
        woken,
        lambda installed: keda_changed(installed=installed),
    )
    queues = QueueReader(
        redis,
        cluster,
        requests.reconcile,
        config.tenancy,
        metrics,
        burst_seconds=config.burst_seconds,
        status_seconds=config.status_seconds,
    )
    ledgers = UsageReader(
        redis,
        cluster,
        requests.reconcile,
        config.tenancy,
        metrics,
        usage_seconds=config.usage_seconds,
        status_seconds=config.status_seconds,
    )
    sizer = Sizer(redis, cluster, requests.reconcile, config.tenancy, metrics, seconds=config.sizing_seconds)
    sources = Sources(queues, usage or ledgers.usage, sizer.sizing)
    keda = KedaWatch(
        client,
        config.keda_namespace,
        config.keda_lease,
        lambda why: keda_changed(down=why),
        silent_seconds=config.keda_silent_seconds,
    )
    reconciler = Reconciler(client, Events(client, _COMPONENT, identity), cluster, sources, config.options, metrics)
    controller = Controller(queue, reconciler.reconcile, metrics, workers=config.workers)
    election = Election(lease_client, config.namespace, config.lease_name, identity, config.terms)
    return Parts(cluster, queues, ledgers, sizer, keda, controller, election, requests)


def _redis_clients(config: OperatorSettings, stack: AsyncExitStack) -> dict[str, Redis]:
    """Return the clients by the connection's name; the stack closes them."""
    timeout = max(1.0, config.status_seconds / 2)
    clients = {
        name: connect(url, timeout=timeout, max_connections=3, name=_COMPONENT)
        for name, url in config.connections.items()
    }
    for client in clients.values():
        stack.push_async_callback(client.aclose)
    return clients


def _kubeconfig(config: OperatorSettings) -> Path | None:
    named = config.kubeconfig or os.environ.get("KUBECONFIG")
    return Path(named) if named else None
