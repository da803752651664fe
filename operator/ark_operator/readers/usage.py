"""Reads the token ledgers of agents with a daily limit: layer 2 of the budget (the worker's reservations are layer 1).

Pools that run, and those whose budget is used up, are read every second: the one must be stopped soon, the other must
come back soon. The others, for their statuses, every few seconds. A ledger that cannot be read leaves what is known as
it is, and with that every mode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from ark_api.tenancy import Tenancy
from ark_kube.objects import Key
from ark_operator.cluster.cache import Cluster
from ark_operator.decision.agent import Agent
from ark_operator.metrics import OperatorMetrics
from ark_operator.readers.reader import Counters, Reader
from ark_taskqueue import Budget, Client, QueueKeys, TaskQueueError, TokenUsage, read_usages

_Ledger = tuple[QueueKeys, Budget]
_Known = tuple[str, _Ledger, TokenUsage]
"""Redis connection, ledger, and what was read."""


class UsageReader(Reader[_Ledger, TokenUsage]):
    """Knows what agents have spent.

    Args:
        clients, cluster, touched, tenancy, status_seconds: see `Reader`.
        metrics: counts pipelines and errors.
        usage_seconds: time between two readings of running and of stopped pools.
    """

    component = "usage"
    unreadable = ("cannot read token usage: modes stay as they are", "token usage can be read again")
    one_unreadable = (
        "cannot read a token ledger: its agent's mode stays",
        "the token ledger can be read again",
    )

    def __init__(
        self,
        clients: Mapping[str, Client],
        cluster: Cluster,
        touched: Callable[[Key, float], None],
        tenancy: Tenancy,
        metrics: OperatorMetrics,
        *,
        usage_seconds: float,
        status_seconds: float,
    ) -> None:
        super().__init__(
            clients,
            cluster,
            touched,
            tenancy,
            Counters(metrics.usage_pipelines, metrics.usage_errors),
            few_seconds=usage_seconds,
            status_seconds=status_seconds,
        )
        self._known: dict[Key, _Known] = {}

    def usage(self, key: Key) -> TokenUsage | None:
        """Return an agent's usage; None where it is not known for the limits that the agent has now.

        Then it is read at once, and the agent is reconciled again: a limit that was raised takes effect.
        """
        agent = self._cluster.agent(key)
        ledger = None if agent is None else self.item_of(agent)
        if agent is None or ledger is None:
            self._known.pop(key, None)  # a limit that is set again later is another one
            return None
        known = self._known.get(key)
        if known is not None and known[:2] == (agent.redis, ledger):
            return known[2]
        self._schedule.ask(agent.redis, key)
        return None

    def known(self) -> Iterator[tuple[Key, int, TokenUsage]]:
        """Yield agent, limit and usage of every agent with a limit whose usage is known."""
        for key, (_, (_, budget), usage) in self._known.items():
            if budget.daily is not None:
                yield key, budget.daily, usage

    async def run(self) -> None:
        """Read until cancelled; what was read is nobody's any more then."""
        try:
            await super().run()
        finally:
            self._known.clear()

    def item_of(self, agent: Agent) -> _Ledger | None:
        """Return an agent's ledger, where it has a limit and may be read; that it may not is said elsewhere."""
        limits = agent.limits
        queue = agent.queue_within(self._tenancy)
        if limits.daily_tokens is None or queue is None:
            return None
        return queue, Budget(limits.daily_tokens, limits.tokens_per_call)

    def urgent(self) -> Iterable[Key]:
        """Yield the agents whose pools run, or are stopped for their budget."""
        for key in self._cluster.agents:
            agent = self._cluster.agent(key)
            if agent is None or agent.limits.daily_tokens is None:
                continue
            known = self._known.get(key)
            deployment = self._cluster.deployment(agent) or {}
            if (known is not None and known[2].exceeded) or (deployment.get("spec") or {}).get("replicas", 0) > 0:
                yield key

    async def read(self, client: Client, items: Sequence[_Ledger]) -> Sequence[TokenUsage | TaskQueueError]:
        """Read ledgers."""
        return await read_usages(client, items)

    def take(
        self,
        name: str,
        readings: Mapping[Key, tuple[_Ledger, TokenUsage]],
        *,
        whole: bool,  # noqa: ARG002
    ) -> Iterable[Key]:
        """Keep usages; an agent whose budget is exceeded now, or no longer is, is reconciled at once."""
        for key, (ledger, usage) in readings.items():
            before = self._known.get(key)
            self._known[key] = (name, ledger, usage)
            if before is None or before[:2] != (name, ledger) or before[2].exceeded != usage.exceeded:
                self._touched(key, 0.0)
            elif self._differs(key, usage):
                yield key

    def delay(self, spread: float) -> float:
        """Return half of the interval and more: what has changed until then is written with it."""
        return self._status_seconds / 2 + spread

    def keep(self, agents: set[Key]) -> None:
        """Forget what is known of agents that are gone, or have no limit any more."""
        for key in list(self._known):
            agent = self._cluster.agent(key) if key in agents else None
            if agent is None or self.item_of(agent) is None:
                del self._known[key]

    def _differs(self, key: Key, usage: TokenUsage) -> bool:
        """Return whether the status shows other numbers."""
        agent = self._cluster.agent(key)
        shown = (agent.status.get("dailyTokenUsage") if agent is not None else None) or {}
        return bool(shown.get("inputTokens") != usage.input or shown.get("outputTokens") != usage.output)
