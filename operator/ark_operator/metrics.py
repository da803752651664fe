"""The operator's Prometheus metrics, declared together.

Those of reconciling, the workqueue, API calls and leadership have controller-runtime's names and meanings, so that
dashboards and alerts made for other operators work here.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping
from typing import get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ark_api.status import Mode
from ark_kube.controller import Result
from ark_kube.objects import Key
from ark_operator.decision.pools import Pool
from ark_taskqueue import TokenUsage

disable_created_metrics()

CONTROLLER = "arkagent"
_RECONCILE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_QUEUE_BUCKETS = (0.0001, 0.001, 0.01, 0.1, 1, 10, 100, 1000)


class RuntimeMetrics:
    """What the controller runtime tells (`ark_kube.controller.ControllerMetrics`, `ark_kube.workqueue.QueueMetrics`).

    Args:
        registry: gets them.
        workers: agents that are reconciled at a time, at most.
    """

    def __init__(self, registry: CollectorRegistry, workers: int) -> None:
        self._reconciles = Counter(
            "controller_runtime_reconcile", "Reconciles by their result", ["controller", "result"], registry=registry
        )
        self._reconcile_errors = Counter(
            "controller_runtime_reconcile_errors", "Reconciles that failed", ["controller"], registry=registry
        )
        self._reconcile_seconds = Histogram(
            "controller_runtime_reconcile_time_seconds",
            "Time of a reconcile",
            ["controller"],
            buckets=_RECONCILE_BUCKETS,
            registry=registry,
        )
        self._active_workers = Gauge(
            "controller_runtime_active_workers", "Workers that reconcile now", ["controller"], registry=registry
        )
        Gauge(
            "controller_runtime_max_concurrent_reconciles",
            "Agents that are reconciled at a time, at most",
            ["controller"],
            registry=registry,
        ).labels(CONTROLLER).set(workers)
        self._depth = Gauge("workqueue_depth", "Agents that wait for a reconcile", ["name"], registry=registry)
        self._waits = Histogram(
            "workqueue_queue_duration_seconds",
            "Time that an agent waited for its reconcile",
            ["name"],
            buckets=_QUEUE_BUCKETS,
            registry=registry,
        )
        self._works = Histogram(
            "workqueue_work_duration_seconds",
            "Time that a worker had an agent",
            ["name"],
            buckets=_QUEUE_BUCKETS,
            registry=registry,
        )
        self._retries = Counter("workqueue_retries", "Reconciles that are tried again", ["name"], registry=registry)
        # From the start on: the rate of a counter that first appears with its first error misses that one.
        for label in (self._depth, self._waits, self._works, self._retries, self._reconcile_errors):
            label.labels(CONTROLLER)
        for result in get_args(Result):
            self._reconciles.labels(CONTROLLER, result)

    def reconciled(self, result: Result, seconds: float) -> None:
        """A reconcile ended."""
        self._reconciles.labels(CONTROLLER, result).inc()
        self._reconcile_seconds.labels(CONTROLLER).observe(seconds)
        if result == "error":
            self._reconcile_errors.labels(CONTROLLER).inc()

    def active(self, workers: int) -> None:
        """So many workers are at work."""
        self._active_workers.labels(CONTROLLER).set(workers)

    def depth(self, keys: int) -> None:
        """Agents that wait."""
        self._depth.labels(CONTROLLER).set(keys)

    def waited(self, seconds: float) -> None:
        """How long an agent waited."""
        self._waits.labels(CONTROLLER).observe(seconds)

    def worked(self, seconds: float) -> None:
        """How long a worker had an agent."""
        self._works.labels(CONTROLLER).observe(seconds)

    def retried(self) -> None:
        """An agent comes back with a backoff."""
        self._retries.labels(CONTROLLER).inc()


class OperatorMetrics(RuntimeMetrics):
    """All metrics of one operator process, in a registry of their own.

    Args:
        workers: agents that are reconciled at a time, at most.
    """

    def __init__(self, workers: int) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        super().__init__(registry, workers)
        self._requests = Counter(
            "rest_client_requests", "Calls of the API server", ["method", "code"], registry=registry
        )
        self._leader = Gauge(
            "leader_election_master_status", "Whether this replica leads: 1 or 0", ["name"], registry=registry
        )
        self.bursts = Counter("ark_operator_bursts", "Pools that were raised ahead of the HPA", registry=registry)
        self.queue_errors = Counter(
            "ark_operator_queue_read_errors", "Queues whose depth could not be read", ["redis"], registry=registry
        )
        self.queue_pipelines = Counter(
            "ark_operator_queue_pipelines", "Pipelines that queues were read with", ["redis"], registry=registry
        )
        self.usage_errors = Counter(
            "ark_operator_usage_read_errors", "Token ledgers that could not be read", ["redis"], registry=registry
        )
        self.usage_pipelines = Counter(
            "ark_operator_usage_pipelines", "Pipelines that token ledgers were read with", ["redis"], registry=registry
        )
        self.sizings = Counter(
            "ark_operator_sizings",
            "Looks at the record of a pool that came to something: chosen, short (it decides nothing yet) or failed",
            ["result"],
            registry=registry,
        )
        for result in ("chosen", "short", "failed"):
            self.sizings.labels(result)
        self.sizing_seconds = Counter(
            "ark_operator_sizing_cpu_seconds", "CPU time that choosing sizings took", registry=registry
        )
        self._keda_up = Gauge(
            "ark_operator_keda_up", "Whether KEDA is installed and its operator runs: 1 or 0", registry=registry
        )
        self._modes: dict[Key, Mode] = {}
        registry.register(_Modes(self._modes))
        self.keda(True)

    def answered(self, method: str, code: str) -> None:
        """A call of the API server ended."""
        self._requests.labels(method, code).inc()

    # What the operator tells.

    def leads(self, name: str, leading: bool) -> None:
        """Return whether this replica leads."""
        self._leader.labels(name).set(leading)

    def keda(self, up: bool) -> None:
        """Return whether KEDA scales."""
        self._keda_up.set(up)

    def mode(self, key: Key, mode: Mode) -> None:
        """An agent's mode."""
        self._modes[key] = mode

    def forget(self, key: Key) -> None:
        """An agent is gone."""
        self._modes.pop(key, None)

    def show_budgets(self, budgets: Callable[[], Iterable[tuple[Key, int, TokenUsage]]]) -> None:
        """Show what agents have spent of their daily limits, as read last; only the leader reads.

        Args:
            budgets: answers agent, limit and usage of every agent with a limit whose usage is known.
        """
        self.registry.register(_Budgets(budgets))

    def show_pools(self, pools: Callable[[Mapping[Key, Mode]], Iterable[Pool]]) -> None:
        """Show the pools; only the leader knows them all.

        Args:
            pools: answers the pools of agents whose modes are given.
        """
        self.registry.register(_Pools(lambda: pools(self._modes)))

    def show_silence(self, silence: Callable[[], Mapping[str, float]]) -> None:
        """Show how long the API server has said nothing, seconds by resource."""
        self.registry.register(_Silence(silence))


class _Modes(Collector):
    def __init__(self, modes: Mapping[Key, Mode]) -> None:
        self._modes = modes

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily("ark_operator_agents", "Agents by mode", labels=["mode"])
        tally = Tally(self._modes.values())
        for mode in Mode:
            family.add_metric([mode], tally[mode])
        yield family


class _Budgets(Collector):
    def __init__(self, budgets: Callable[[], Iterable[tuple[Key, int, TokenUsage]]]) -> None:
        self._budgets = budgets

    def collect(self) -> Iterable[Metric]:
        labels = ["namespace", "agent"]
        limit = GaugeMetricFamily("ark_budget_limit_tokens", "Daily token limit of an agent", labels=labels)
        used = GaugeMetricFamily(
            "ark_budget_used_tokens", "Tokens of the last 24 hours, by kind: input or output", labels=[*labels, "kind"]
        )
        exceeded = GaugeMetricFamily(
            "ark_budget_exceeded", "Whether a full call no longer fits into the limit: 1 or 0", labels=labels
        )
        restored = GaugeMetricFamily(
            "ark_budget_restored_timestamp_seconds",
            "When a full call will fit again, seconds since 1970; there while the budget is exceeded",
            labels=labels,
        )
        for key, tokens, usage in self._budgets():
            limit.add_metric(key, tokens)
            used.add_metric([*key, "input"], usage.input)
            used.add_metric([*key, "output"], usage.output)
            exceeded.add_metric(key, usage.exceeded)
            if usage.restored_at is not None:
                restored.add_metric(key, usage.restored_at.timestamp())
        yield from (limit, used, exceeded, restored)


class _Pools(Collector):
    """Renders the pools at a scrape, instead of keeping some gauges for each of thousands of agents."""

    def __init__(self, pools: Callable[[], Iterable[Pool]]) -> None:
        self._pools = pools

    def collect(self) -> Iterable[Metric]:
        labels = ["namespace", "agent"]
        replicas = GaugeMetricFamily(
            "ark_pool_replicas",
            "Replicas that a pool is to have, by who sets the number: Auto, Pinned, Static or Budget",
            labels=[*labels, "mode"],
        )
        ready = GaugeMetricFamily("ark_pool_ready_replicas", "Replicas of a pool that are ready", labels=labels)
        greatest = GaugeMetricFamily("ark_pool_max_replicas", "Replicas that a pool may have", labels=labels)
        capacity = GaugeMetricFamily(
            "ark_pool_capacity_tasks", "Tasks that a pool's ready replicas work on at a time", labels=labels
        )
        tasks = GaugeMetricFamily(
            "ark_pool_tasks",
            "Tasks in a pool's queue, waiting or in_flight; also at zero replicas",
            labels=[*labels, "state"],
        )
        oldest = GaugeMetricFamily(
            "ark_pool_oldest_waiting_seconds",
            "Age of the oldest waiting task of a pool when it was last read, 0 when none waited",
            labels=[*labels, "queue"],
        )
        dead_letters = GaugeMetricFamily(
            "ark_pool_dead_letters",
            "Tasks of a pool's queue that had failed for good when they were last counted",
            labels=[*labels, "queue"],
        )
        starts = GaugeMetricFamily(
            "ark_pool_start_seconds", "How long a pool's Pods take to start, once one was seen starting", labels=labels
        )
        reserve = GaugeMetricFamily(
            "ark_pool_reserve",
            "Slots that a pool keeps free while there are tasks, as a multiple of the root of those that they ask for; "
            "there once the operator has chosen a sizing",
            labels=labels,
        )
        patience = GaugeMetricFamily(
            "ark_pool_patience_seconds", "How long less must be wanted before a pool is lowered", labels=labels
        )
        expected = GaugeMetricFamily(
            "ark_pool_expected_wait_seconds",
            "Wait of 95 % of the tasks on the queue's record, with the sizing that the operator has chosen",
            labels=labels,
        )
        for pool in self._pools():
            place = [pool.namespace, pool.agent]
            for family, name in (
                (starts, "startSeconds"),
                (reserve, "reserve"),
                (patience, "patienceSeconds"),
                (expected, "expectedWaitSeconds"),
            ):
                if name in pool.sizing:
                    family.add_metric(place, float(pool.sizing[name]))
            replicas.add_metric([*place, pool.mode], pool.wanted)
            ready.add_metric(place, pool.ready)
            greatest.add_metric(place, pool.greatest)
            capacity.add_metric(place, pool.capacity)
            if pool.depth is not None:
                tasks.add_metric([*place, "waiting"], pool.depth.waiting)
                tasks.add_metric([*place, "in_flight"], pool.depth.in_flight)
                oldest.add_metric([*place, pool.queue], pool.depth.oldest_waiting_ms / 1000)
            if pool.dead_letters is not None:
                dead_letters.add_metric([*place, pool.queue], pool.dead_letters)
        return [replicas, ready, greatest, capacity, tasks, oldest, dead_letters, starts, reserve, patience, expected]


class _Silence(Collector):
    def __init__(self, silence: Callable[[], Mapping[str, float]]) -> None:
        self._silence = silence

    def collect(self) -> Iterable[Metric]:
        help_text = "Time since the API server said something about a resource"
        family = GaugeMetricFamily("ark_operator_watch_silent_seconds", help_text, labels=["resource"])
        for resource, seconds in self._silence().items():
            family.add_metric([resource], seconds)
        yield family
