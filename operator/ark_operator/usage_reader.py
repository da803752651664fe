"""Reads the token ledgers of agents with a daily limit: layer 2 of the budget (the worker's reservations are layer 1).

One pipeline for each Redis and round. Pools that run, and those whose budget is used up, are read every second: the
one must be stopped soon, the other must come back soon. The others, for their statuses, every few seconds. A ledger
that cannot be read leaves what is known as it is, and with that every mode.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import structlog

from ark_api.tenancy import Tenancy
from ark_kube.objects import Key
from ark_operator.agent import Agent
from ark_operator.cluster import Cluster
from ark_operator.metrics import OperatorMetrics
from ark_operator.observed import Usage
from ark_operator.rounds import Due, Rounds
from ark_process.outages import Outages
from ark_taskqueue import (
    Budget,
    Client,
    QueueKeys,
    TaskQueueError,
    TokenUsage,
    read_usages,
)

_FEW = 20
"""So many statuses may change at the same moment; more are spread over half of the interval."""
_PATIENCE_SECONDS = 5.0
"""The most that a round may take."""

_Ledger = tuple[QueueKeys, Budget]
_Known = tuple[str, _Ledger, Usage]
"""Redis connection, ledger, and what was read."""


class UsageReader:
    """Knows what agents have spent."""

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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            clients: Redis connections by name.
            cluster: what is there.
            touched: called with an agent that is to be reconciled, and after how many seconds.
            tenancy: who may read which ledger: that of a queue it may read.
            metrics: counts pipelines and errors.
            usage_seconds: time between two readings of running and of stopped pools.
            status_seconds: time between two readings of all of them.
            clock: monotonic time, seconds.
        """
        self._clients = clients
        self._cluster = cluster
        self._touched = touched
        self._tenancy = tenancy
        self._metrics = metrics
        self._status_seconds = status_seconds
        self._known: dict[Key, _Known] = {}
        self._rounds = Rounds(clients, self._round, few_seconds=usage_seconds, all_seconds=status_seconds, clock=clock)
        log = structlog.get_logger(component="usage")
        self._outages = Outages(
            log, "redis", "token usage cannot be read: modes stay as they are", "token usage can be read again"
        )
        self._unreadable = Outages(
            log, "agent", "a token ledger cannot be read: its agent's mode stays", "the token ledger can be read again"
        )

    def usage(self, key: Key) -> Usage | None:
        """Answer an agent's usage; None where it is not known for the limits that the agent has now.

        Then it is read at once, and the agent is reconciled again: a limit that was raised takes effect.
        """
        agent = self._cluster.agent(key)
        ledger = None if agent is None else self._ledger(agent)
        if agent is None or ledger is None:
            self._known.pop(key, None)  # a limit that is set again later is another one
            return None
        known = self._known.get(key)
        if known is not None and known[:2] == (agent.redis, ledger):
            return known[2]
        self._rounds.ask(agent.redis, key)
        return None

    def known(self) -> Iterator[tuple[Key, int, Usage]]:
        """Give agent, limit and usage of every agent with a limit whose usage is known."""
        for key, (_, (_, budget), usage) in self._known.items():
            if budget.daily is not None:
                yield key, budget.daily, usage

    async def run(self) -> None:
        """Read until cancelled; what was read is nobody's any more then."""
        try:
            await self._rounds.run()
        finally:
            self._known.clear()

    async def _round(self, name: str, due: Due) -> None:
        keys = list(due.asked)
        if due.all:
            self._forget_unlimited()
            keys = list(self._cluster.agents)
        elif due.few:
            keys += self._urgent()
        ledgers = self._ledgers(name, keys)
        if ledgers:
            await self._read(name, ledgers)

    def _urgent(self) -> Iterable[Key]:
        """Give the agents whose pools run, or are stopped for their budget."""
        for key in self._cluster.agents:
            agent = self._cluster.agent(key)
            if agent is None or agent.limits.daily_tokens is None:
                continue
            known = self._known.get(key)
            there = self._cluster.deployment(agent) or {}
            if (known is not None and known[2].exceeded) or (there.get("spec") or {}).get("replicas", 0) > 0:
                yield key

    def _ledgers(self, name: str, keys: Sequence[Key]) -> dict[Key, _Ledger]:
        """Answer the ledgers of agents that have a limit, lie in one Redis, and may be read."""
        found = {}
        for key in dict.fromkeys(keys):
            agent = self._cluster.agent(key)
            ledger = None if agent is None or agent.redis != name else self._ledger(agent)
            if ledger is not None:
                found[key] = ledger
        return found

    async def _read(self, name: str, ledgers: Mapping[Key, _Ledger]) -> None:
        self._metrics.usage_pipelines.labels(name).inc()
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                usages = await read_usages(self._clients[name], list(ledgers.values()))
        except (TaskQueueError, TimeoutError) as error:
            self._metrics.usage_errors.labels(name).inc(len(ledgers))
            self._outages.fails(name, str(error) or f"no answer within {_PATIENCE_SECONDS:g} s")
            return
        changed = []
        for (key, ledger), found in zip(ledgers.items(), usages, strict=True):
            if isinstance(found, TaskQueueError):
                self._metrics.usage_errors.labels(name).inc()
                self._unreadable.fails("/".join(key), str(found))
                continue
            self._unreadable.answers("/".join(key))
            usage = _usage(found)
            before = self._known.get(key)
            self._known[key] = (name, ledger, usage)
            if before is None or before[:2] != (name, ledger) or before[2].exceeded != usage.exceeded:
                self._touched(key, 0.0)
            elif self._differs(key, usage):
                changed.append(key)
        self._outages.answers(name)
        for key in changed:
            # The status follows at its own pace; what has changed until then is written with it.
            spread = self._status_seconds / 2 if len(changed) > _FEW else 0.0
            self._touched(key, self._status_seconds / 2 + random.uniform(0.0, spread))  # noqa: S311 - no secret

    def _differs(self, key: Key, usage: Usage) -> bool:
        """Whether the status shows other numbers."""
        agent = self._cluster.agent(key)
        shown = (agent.status.get("dailyTokenUsage") if agent is not None else None) or {}
        return bool(shown.get("inputTokens") != usage.input_tokens or shown.get("outputTokens") != usage.output_tokens)

    def _ledger(self, agent: Agent) -> _Ledger | None:
        """Answer an agent's ledger, where it has a limit and may be read; that it may not is said elsewhere."""
        limits = agent.limits
        queue = agent.queue_within(self._tenancy)
        if limits.daily_tokens is None or queue is None:
            return None
        return queue, Budget(limits.daily_tokens, limits.tokens_per_call)

    def _forget_unlimited(self) -> None:
        """Forget what is known of agents that are gone, or have no limit any more."""
        for key in list(self._known):
            agent = self._cluster.agent(key)
            if agent is None or self._ledger(agent) is None:
                del self._known[key]
        self._unreadable.keep({"/".join(key) for key in self._cluster.agents})


def _usage(found: TokenUsage) -> Usage:
    return Usage(found.input, found.output, found.exceeded, found.restored_at)
