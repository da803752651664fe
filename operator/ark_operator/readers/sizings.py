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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import structlog

from ark_api.status import Mode
from ark_api.tenancy import Tenancy
from ark_kube.objects import Key
from ark_operator.cluster.cache import Cluster
from ark_operator.decision.agent import Agent
from ark_operator.metrics import OperatorMetrics
from ark_process.outages import Outages
from ark_sizing.choice import Sizing, too_short
from ark_sizing.exchange import Question, decoded
from ark_sizing.in_force import chosen_setting, own_setting
from ark_sizing.record import MOST_SECONDS, Span
from ark_sizing.setting import Setting
from ark_sizing.simulation import Pool
from ark_taskqueue import Client, DemandSpan, QueueKeys, TaskQueueError, read_demand

_SHARE = 0.05 / 300
"""Of a core, that a pool's choices take on average, at most."""
_READ_SECONDS = 5.0
_CHOICE_SECONDS = 120.0
"""The most that a choice may take."""
_USUAL_SECONDS = 0.6
"""Of a choice that begins at the present sizing. A pool's first one takes longer, and counts as one of these: it comes
of a short record, and is to be looked at again soon. A new leader spreads the choices of sized pools by it too."""
_LONGEST_PAUSE_SECONDS = 86_400.0
"""After a choice that took very long."""
_LONGEST_COOLDOWN_SECONDS = 3600
"""That is played, second by second; it is the same whatever the sizing."""
_LONGEST_ERROR = 2000
"""Characters of what a failed process said that are logged."""


class NotAnswered(Exception):
    """The process that chooses has failed; the message says how."""


@dataclass(frozen=True, slots=True)
class _Known:
    """An answer, and what it was an answer to."""

    agent: Agent
    sizing: Sizing

    def answers(self, agent: Agent) -> bool:
        """Return whether it is an answer for an agent as it is now; Pods that start a little sooner change nothing."""
        asked = self.agent
        return (
            (asked.redis, asked.queue, own_setting(asked)) == (agent.redis, agent.queue, own_setting(agent))
            and asked.fixed_by == agent.fixed_by
            and _pool(asked, 1.0) == _pool(agent, 1.0)
        )


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
        if known is None or self._queue_of(agent) is None:
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
                self._choose_at[key] = now + self._spread(key)
            if now >= self._look_at[key]:
                self._look_at[key] = now + self._seconds
                yield key

    def _spread(self, key: Key) -> float:
        """Return how long a pool that is new to this process can wait for a choice: it may have one already."""
        agent = self._cluster.agent(key)
        if agent is None or chosen_setting(agent) is None:
            return 0.0
        return random.uniform(0, _USUAL_SECONDS / _SHARE)  # noqa: S311 - no secret

    async def _look(self, key: Key) -> None:
        agent = self._cluster.agent(key)
        known = self._known.get(key)
        if known is not None and (agent is None or self._queue_of(agent) is None or not known.answers(agent)):
            del self._known[key]
            self._choose_at[key] = self._clock()  # what was chosen was for something else
        queue = None if agent is None else self._queue_of(agent)
        if agent is None or queue is None or agent.start_seconds is None:
            return
        place = "/".join(key)
        try:
            sizing = await self._answer(agent, queue, agent.start_seconds)
        except (TaskQueueError, TimeoutError, NotAnswered) as error:
            self._metrics.sizings.labels("failed").inc()
            self._outages.fails(place, str(error) or f"no answer within {_READ_SECONDS:g} s")
            return
        except Exception:  # noqa: BLE001 - one pool must not keep the others from being sized, nor the leader from leading
            self._metrics.sizings.labels("failed").inc()
            self._log.exception("a bug in the operator: this pool's sizing stays as it is", agent=place)
            return
        if sizing is not None:
            self._outages.answers(place)
            self._known[key] = _Known(agent, sizing)
            self._touched(key)

    async def _answer(self, agent: Agent, queue: QueueKeys, start_seconds: float) -> Sizing | None:
        """Return the sizing that a record asks for; None where it is too early for another choice.

        Raises:
            TaskQueueError: the record cannot be read.
            TimeoutError: the same.
            NotAnswered: the process that chooses has failed.
        """
        present = chosen_setting(agent)
        async with asyncio.timeout(_READ_SECONDS):
            record = await _read(self._clients[agent.redis], queue, present)
        short = too_short(record, present)
        if short is not None:
            self._metrics.sizings.labels("short").inc()
            return Sizing(own_setting(agent), short, None)
        if self._clock() < self._choose_at[agent.key]:
            return None
        sizing = await self._chosen(agent, _question(agent, start_seconds, record, present))
        self._metrics.sizings.labels("chosen").inc()
        return sizing

    async def _chosen(self, agent: Agent, question: Question) -> Sizing:
        before, least, answered = _cpu_seconds(), _USUAL_SECONDS, False
        try:
            sizing = await ask(question)
            answered = True
        finally:
            took = _cpu_seconds() - before
            self._metrics.sizing_seconds.inc(took)
            if not answered:
                took = max(took, least)
            elif question.present is None:
                took = min(took, least)
            self._choose_at[agent.key] = self._clock() + min(took / _SHARE, _LONGEST_PAUSE_SECONDS)
        return sizing

    def _queue_of(self, agent: Agent) -> QueueKeys | None:
        """Return the queue by which a pool is to be sized; None where it is not, or not now."""
        if agent.autoscaling is None or agent.fixed_by is not None or agent.redis not in self._clients:
            return None
        return agent.queue_within(self._tenancy) if agent.status.get("mode") == Mode.AUTO else None


async def _read(client: Client, queue: QueueKeys, present: Setting | None) -> list[Span]:
    """Return what of a queue's record a sizing is chosen by: that of two hours, or all of it where that is little."""
    record = _spans(await read_demand(client, queue, time.time() - MOST_SECONDS))
    return record if too_short(record, present) is None else _spans(await read_demand(client, queue))


def _spans(record: Sequence[DemandSpan]) -> list[Span]:
    return [Span(span.at, span.arrivals, span.busy_seconds) for span in record]


def _question(agent: Agent, start_seconds: float, record: Sequence[Span], present: Setting | None) -> Question:
    autoscaling = agent.autoscaling
    assert autoscaling is not None
    return Question(record, _pool(agent, start_seconds), own_setting(agent), autoscaling.target_wait_seconds, present)


def _pool(agent: Agent, start_seconds: float) -> Pool:
    autoscaling = agent.autoscaling
    assert autoscaling is not None
    return Pool(
        agent.limits.concurrent_tasks,
        start_seconds,
        autoscaling.min_replicas,
        autoscaling.max_replicas,
        min(autoscaling.cooldown_seconds, _LONGEST_COOLDOWN_SECONDS),
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
