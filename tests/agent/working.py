"""Workers in the tests' own process, with a fake LLM."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from redis.asyncio import Redis

from ark_agent.calls import Calls
from ark_agent.context import Handler, answer_prompt
from ark_agent.gate import Gate
from ark_agent.metrics import AgentMetrics
from ark_agent.options import Reports, WorkLimits
from ark_agent.providers import Provider, Reply, Request
from ark_agent.providers.echo import EchoProvider
from ark_agent.reserving import CallLimits, Reserving
from ark_agent.upkeep import Upkeep
from ark_agent.worker import Worker
from ark_taskqueue import Budget, Client, Consumer, Leases, QueueKeys, RetryPolicy, TokenLedger, connect

FAST = RetryPolicy(max_failures=3, first_backoff=0.01, longest_backoff=0.01)
NO_LIMIT = Budget(None, 8000)
MODEL = "m"


@dataclass
class FakeLLM:
    """A provider that does what it is told, and remembers its calls."""

    act: Callable[[Request], Reply | Exception] = field(default=lambda _: reply())
    counts: int | Exception = 10
    seconds: float = 0.0
    calls: list[tuple[Request, int]] = field(default_factory=list)

    async def count(self, request: Request) -> int:  # noqa: ARG002 - a fake
        """Answer or fail as it is told."""
        if isinstance(self.counts, Exception):
            raise self.counts
        return self.counts

    async def call(self, request: Request, output_tokens: int) -> Reply:
        """Answer or fail as it is told."""
        self.calls.append((request, output_tokens))
        await asyncio.sleep(self.seconds)
        answer = self.act(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def aclose(self) -> None:
        """Have nothing to close."""


def reply(text: str = "done", input_tokens: int | None = 10, output_tokens: int | None = 5) -> Reply:
    """Return a reply."""
    return Reply(text, input_tokens, output_tokens, "end_turn")


def calls_of(
    client: Client,
    queue: QueueKeys,
    provider: Provider,
    budget: Budget = NO_LIMIT,
    *,
    gate: Gate | None = None,
    metrics: AgentMetrics | None = None,
    seconds: float = 60.0,
) -> Calls:
    """Make the calls of one worker."""
    limits, gate = CallLimits(budget, seconds), gate or Gate()
    reserving = Reserving(TokenLedger(client, queue), limits, gate)
    return Calls(provider, reserving, limits, gate, metrics or AgentMetrics(), MODEL)


@asynccontextmanager
async def working(
    client: Client,
    queue: QueueKeys,
    handler: Handler = answer_prompt,
    name: str = "w",
    limits: WorkLimits | None = None,
    leases: Leases | None = None,
    *,
    provider: Provider | None = None,
    budget: Budget = NO_LIMIT,
    end: Callable[[int], object] = os._exit,
    longest_block_seconds: float = 60.0,
) -> AsyncIterator[Worker]:
    """Run a worker, and stop it."""
    limits = limits or WorkLimits()
    consumer = Consumer(client, queue, name, leases=leases, retries=FAST)
    metrics, gate = AgentMetrics(), Gate()
    calls = calls_of(
        client, queue, provider or EchoProvider(), budget, gate=gate, metrics=metrics, seconds=limits.task_seconds
    )
    worker = Worker(consumer, handler, calls, gate, limits, Reports(metrics), system="be brief", end=end)

    def consumer_of_its_own() -> tuple[Client, Consumer]:
        own = connect(url_of(client))
        return own, Consumer(own, queue, name, leases=leases, retries=FAST)

    upkeep = Upkeep(worker, consumer_of_its_own, metrics, longest_block_seconds=longest_block_seconds, end=end)
    async with upkeep.running():
        running = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            async with asyncio.timeout(60):
                await running


def url_of(client: Client) -> str:
    """Return where a client's server is."""
    assert isinstance(client, Redis)
    given = client.connection_pool.connection_kwargs
    return f"redis://{given['host']}:{given['port']}"
