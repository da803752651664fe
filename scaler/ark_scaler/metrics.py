"""The scaler's Prometheus metrics, declared together."""

from __future__ import annotations

from collections.abc import Callable, Iterable

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

from ark_taskqueue import Budget, Depth, QueueKeys, TokenUsage

# When each series began is noise to Prometheus, and doubles the page.
disable_created_metrics()

_LATENCY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class ScalerMetrics:
    """All metrics of one scaler process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter(
            "ark_scaler_requests",
            "Calls from KEDA that were answered",
            ["method", "code"],
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "ark_scaler_request_seconds",
            "Time to answer a call, streams excepted",
            ["method"],
            buckets=_LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.open_streams = Gauge(
            "ark_scaler_open_streams", "StreamIsActive calls that are open", registry=self.registry
        )
        self.pushes = Counter("ark_scaler_pushes", "Wake-ups sent on open streams", registry=self.registry)
        self.redis_up = Gauge(
            "ark_scaler_redis_up", "Whether Redis answered lately: 1 or 0", ["redis"], registry=self.registry
        )
        self.redis_reads = Counter(
            "ark_scaler_redis_reads", "Queue depths that were asked of Redis", ["redis"], registry=self.registry
        )
        self.usage_reads = Counter(
            "ark_scaler_usage_reads", "Token ledgers that were asked of Redis", ["redis"], registry=self.registry
        )
        self.demand_reads = Counter(
            "ark_scaler_demand_reads", "Records of demand that were asked of Redis", ["redis"], registry=self.registry
        )
        self.redis_errors = Counter(
            "ark_scaler_redis_errors",
            "Depths, token ledgers and records of demand that Redis did not answer, and connections of the watch that "
            "broke",
            ["redis"],
            registry=self.registry,
        )
        self.held_values = Counter(
            "ark_scaler_held_values",
            "Answers with the last good value, because Redis failed",
            ["redis"],
            registry=self.registry,
        )
        self.estimated_depths = Counter(
            "ark_scaler_estimated_depths",
            "Queue depths that were estimated, because the group's lag is unknown and counting it would take too long",
            ["redis"],
            registry=self.registry,
        )
        self.dead_letters = Gauge(
            "ark_queue_dead_letters",
            "Tasks that failed for good and wait for a person",
            ["redis", "queue"],
            registry=self.registry,
        )
        self.watched_queues = Gauge(
            "ark_scaler_watched_queues", "Idle queues that are watched", ["redis"], registry=self.registry
        )

    def show_depths(self, depths: Callable[[], Iterable[tuple[str, QueueKeys, Depth]]]) -> None:
        """Show queue depths, taken anew at each scrape.

        Args:
            depths: answers (connection's name, queue, depth) for every queue whose depth is known.
        """
        self.registry.register(_DepthCollector(depths))

    def show_budgets(self, budgets: Callable[[], Iterable[tuple[str, QueueKeys, Budget, TokenUsage]]]) -> None:
        """Show token budgets, as they were read last for a call.

        Args:
            budgets: answers (connection's name, queue, budget, usage) for every budget that triggers name.
        """
        self.registry.register(_BudgetCollector(budgets))


class _BudgetCollector(Collector):
    def __init__(self, budgets: Callable[[], Iterable[tuple[str, QueueKeys, Budget, TokenUsage]]]) -> None:
        self._budgets = budgets

    def collect(self) -> Iterable[Metric]:
        labels = ["redis", "queue"]
        limit = GaugeMetricFamily(
            "ark_queue_budget_limit_tokens", "Daily token limit that a queue's trigger names", labels=labels
        )
        used = GaugeMetricFamily(
            "ark_queue_budget_used_tokens",
            "Tokens of the last 24 hours that a queue's tasks have cost, by kind: input or output",
            labels=[*labels, "kind"],
        )
        exceeded = GaugeMetricFamily(
            "ark_queue_budget_exceeded",
            "Whether a full call no longer fits into the limit: 1 or 0; then no demand is reported",
            labels=labels,
        )
        strictest: dict[tuple[str, str], tuple[Budget, TokenUsage]] = {}
        for redis, queue, budget, usage in self._budgets():
            # Several triggers, and the groups of one stream, share a ledger; of their limits the lowest one counts.
            known = strictest.get((redis, queue.name))
            if known is None or (budget.daily or 0) < (known[0].daily or 0):
                strictest[redis, queue.name] = budget, usage
        for place, (budget, usage) in strictest.items():
            limit.add_metric(place, budget.daily or 0)
            used.add_metric([*place, "input"], usage.input)
            used.add_metric([*place, "output"], usage.output)
            exceeded.add_metric(place, usage.exceeded)
        return [limit, used, exceeded]


class _DepthCollector(Collector):
    """Renders the depths at a scrape, instead of keeping three gauges for each of thousands of queues."""

    def __init__(self, depths: Callable[[], Iterable[tuple[str, QueueKeys, Depth]]]) -> None:
        self._depths = depths

    def collect(self) -> Iterable[Metric]:
        tasks = GaugeMetricFamily(
            "ark_queue_tasks",
            "Tasks in the queue: waiting (no worker holds them) and in_flight",
            labels=["redis", "queue", "group", "state"],
        )
        oldest = GaugeMetricFamily(
            "ark_queue_oldest_waiting_seconds",
            "Age of the oldest waiting task, 0 when none waits",
            labels=["redis", "queue", "group"],
        )
        orphaned = GaugeMetricFamily(
            "ark_queue_orphaned_tasks",
            "Pending entries, at least, whose tasks were trimmed or deleted: they count as in flight forever",
            labels=["redis", "queue", "group"],
        )
        for redis, queue, depth in self._depths():
            place = [redis, queue.name, queue.group]
            tasks.add_metric([*place, "waiting"], depth.waiting)
            tasks.add_metric([*place, "in_flight"], depth.in_flight)
            oldest.add_metric(place, depth.oldest_waiting_ms / 1000)
            orphaned.add_metric(place, depth.orphaned)
        return [tasks, oldest, orphaned]
