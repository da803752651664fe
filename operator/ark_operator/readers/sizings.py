"""Chooses the sizing of every pool that is to fit its queue: reads the queue's record, and has it replayed.

One pool at a time, in a process of its own that yields the CPU to everybody else. A record is read every five minutes;
a choice takes half a second, so there is one only as often as it takes 50 ms of a core in five minutes on average.
"""

from __future__ import annotations

import asyncio
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import structlog

from ark_api.status import Mode
from ark_api.tenancy import Tenancy
from ark_kube.objects import Key
from ark_operator.cluster.cache import Cluster
from ark_operator.decision.agent import Agent
from ark_operator.metrics import OperatorMetrics
from ark_process.outages import Outages
from ark_sizing.choice import LEAST_TASKS, Sizing, too_short
from ark_sizing.exchange import Question, decoded
from ark_sizing.in_force import chosen_setting, own_setting
from ark_sizing.record import MOST_SECONDS, Span
from ark_sizing.setting import Setting
from ark_sizing.simulation import Pool
from ark_taskqueue import Client, QueueKeys, TaskQueueError, read_demand

_SHARE = 0.05 / 300
"""Of a core, that a pool's choices take on average, at most."""
_READ_SECONDS = 5.0
_CHOICE_SECONDS = 120.0
"""The most that a choice may take."""
_USUAL_SECONDS = 0.6
"""Of a choice that begins at the present sizing. A pool's first one takes longer, and counts as one of these: it comes
of a short record, and is to be looked at again soon. A new leader spreads the choices of sized pools by it too."""
_LONGEST_ERROR = 2000
"""Characters of what a failed process said that are logged."""


class NotAnswered(Exception):
    """The process that chooses has failed; the message says how."""


@dataclass(frozen=True, slots=True)
class _Known:
    """An answer, and what it was an answer to."""

    pool: Pool
    safe: Setting
    sizing: Sizing

    def answers(self, agent: Agent) -> bool:
        """Return whether it is an answer for an agent as it is now; Pods that start a little sooner change nothing."""
        return self.safe == own_setting(agent) and self.pool == _pool(agent, self.pool.start_seconds)


class Sizer:
    """Knows the sizings that records ask for.

    Args:
        clients: Redis connections by name.
        cluster: what is there.
        touched: called with an agent for which there is a new answer.
        tenancy: who may read which queue.
        metrics: counts choices, and their time.
        seconds: time between two looks at a pool, at least.
        clock: monotonic time, seconds.
    """

    def __init__(
        self,
        clients: Mapping[str, Client],
        cluster: Cluster,
        touched: Callable[[Key], None],
        tenancy: Tenancy,
        metrics: OperatorMetrics,
        *,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients = clients
        self._cluster = cluster
        self._touched = touched
        self._tenancy = tenancy
        self._metrics = metrics
        self._seconds = seconds
        self._clock = clock
        self._look_at: dict[Key, float] = {}
        self._choose_at: dict[Key, float] = {}
        self._known: dict[Key, _Known] = {}
        self._log = structlog.get_logger(component="sizings")
        self._outages = Outages(
            self._log,
            "agent",
            "cannot choose a pool's sizing: it stays as it is",
            "a pool's sizing can be chosen again",
        )

    def sizing(self, agent: Agent) -> Sizing | None:
        """Return the sizing that an agent's record asks for; None where nobody knows, or the agent is another now."""
        known = self._known.get(agent.key)
        if known is None or agent.fixed_by is not None or agent.autoscaling is None:
            return None
        return known.sizing if known.answers(agent) else None

    async def run(self) -> None:
        """Choose until cancelled; what was chosen stands in the agents' statuses then."""
        try:
            while True:
                for key in list(self._due()):
                    await self._look(key)
                await asyncio.sleep(self._seconds / 60)
        finally:
            for known in (self._look_at, self._choose_at, self._known):
                known.clear()

    def _due(self) -> Iterator[Key]:
        """Yield the agents whose turn it is; those that are new have theirs at some time of the interval."""
        now, agents = self._clock(), set(self._cluster.agents)
        for known in (self._look_at, self._choose_at, self._known):
            for key in known.keys() - agents:
                del known[key]
        self._outages.keep({"/".join(key) for key in agents})
        for key in agents:
            if key not in self._look_at:
                self._look_at[key] = now + random.uniform(0, self._seconds)  # noqa: S311 - no secret
            if now >= self._look_at[key]:
                self._look_at[key] = now + self._seconds
                yield key

    async def _look(self, key: Key) -> None:
        agent = self._cluster.agent(key)
        queue = None if agent is None else self._queue_of(agent)
        if agent is None or queue is None or agent.start_seconds is None:
            return
        place = "/".join(key)
        try:
            async with asyncio.timeout(_READ_SECONDS):
                record = await _read(self._clients[agent.redis], queue)
            question = _question(agent, agent.start_seconds, record)
            known = self._known.get(key)
            if known is not None and not known.answers(agent):
                del self._known[key]
                self._choose_at.pop(key, None)  # the agent wants something else than before
            sizing = await self._answer(key, question)
        except (TaskQueueError, TimeoutError, NotAnswered) as error:
            self._metrics.sizings.labels("failed").inc()
            self._outages.fails(place, str(error) or f"no answer within {_READ_SECONDS:g} s")
            return
        self._outages.answers(place)
        if sizing is not None:
            self._known[key] = _Known(_pool(agent, agent.start_seconds), own_setting(agent), sizing)
            self._touched(key)

    async def _answer(self, key: Key, question: Question) -> Sizing | None:
        """Return the sizing that a record asks for; None where it is too early for another choice.

        Raises:
            NotAnswered: the process that chooses has failed.
        """
        short = too_short(question.record, question.present)
        if short is not None:
            self._metrics.sizings.labels("short").inc()
            return Sizing(question.safe, short, None)
        now = self._clock()
        if key not in self._choose_at:
            spread = 0.0 if question.present is None else _USUAL_SECONDS / _SHARE
            self._choose_at[key] = now + random.uniform(0, spread)  # noqa: S311 - no secret
        if now < self._choose_at[key]:
            return None
        before = _cpu_seconds()
        try:
            sizing = await ask(question)
        except NotAnswered:
            self._choose_at[key] = now + _CHOICE_SECONDS / _SHARE
            raise
        finally:
            took = _cpu_seconds() - before
            self._metrics.sizing_seconds.inc(took)
        self._choose_at[key] = now + (took if question.present is not None else min(took, _USUAL_SECONDS)) / _SHARE
        self._metrics.sizings.labels("chosen").inc()
        return sizing

    def _queue_of(self, agent: Agent) -> QueueKeys | None:
        """Return the queue by which a pool is to be sized; None where it is not, or not now."""
        if agent.autoscaling is None or agent.fixed_by is not None or agent.redis not in self._clients:
            return None
        return agent.queue_within(self._tenancy) if agent.status.get("mode") == Mode.AUTO else None


async def _read(client: Client, queue: QueueKeys) -> list[Span]:
    """Return what of a queue's record a sizing is chosen by: mostly that of the last two hours."""
    spans = await read_demand(client, queue, time.time() - MOST_SECONDS)
    if sum(span.arrivals for span in spans) < LEAST_TASKS:
        spans = await read_demand(client, queue)
    return [Span(span.at, span.arrivals, span.busy_seconds) for span in spans]


def _question(agent: Agent, start_seconds: float, record: list[Span]) -> Question:
    autoscaling = agent.autoscaling
    assert autoscaling is not None
    return Question(
        record,
        _pool(agent, start_seconds),
        own_setting(agent),
        autoscaling.target_wait_seconds,
        chosen_setting(agent),
    )


def _pool(agent: Agent, start_seconds: float) -> Pool:
    autoscaling = agent.autoscaling
    assert autoscaling is not None
    return Pool(
        agent.limits.concurrent_tasks,
        start_seconds,
        autoscaling.min_replicas,
        autoscaling.max_replicas,
        autoscaling.cooldown_seconds,
    )


async def ask(question: Question) -> Sizing:
    """Have a question answered by a process of its own, which has ended when this returns.

    Raises:
        NotAnswered: it failed, or took too long.
    """
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ark_sizing", stdin=pipe, stdout=pipe, stderr=pipe
        )
    except OSError as error:
        raise NotAnswered(f"the process that chooses cannot be started: {error}") from error
    try:
        async with asyncio.timeout(_CHOICE_SECONDS):
            answer, said = await process.communicate(question.encoded())
    except TimeoutError:
        raise NotAnswered(f"the choice was not made within {_CHOICE_SECONDS:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        text = said.decode(errors="replace").strip()[-_LONGEST_ERROR:]
        raise NotAnswered(f"the process that chooses ended with {process.returncode}: {text}")
    try:
        return decoded(answer)
    except (ValueError, KeyError, TypeError) as error:
        raise NotAnswered(f"the process that chooses has said something else: {answer[:_LONGEST_ERROR]!r}") from error


def _cpu_seconds() -> float:
    """Return the CPU time of this process' children that have ended: the choices."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
