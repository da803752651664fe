"""Chooses the sizing of every pool that is to fit its queue: reads the queue's record, and has it replayed.

One pool at a time, in a process of its own that yields the CPU to everybody else. A record is read every five minutes;
a choice takes about a second, so there is one only as often as it takes 50 ms of a core in five minutes on average.
"""

from __future__ import annotations

import asyncio
import random
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
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
from ark_sizing.in_force import chosen_setting, own_setting, pool_of
from ark_sizing.record import MOST_SECONDS, Span
from ark_sizing.setting import Setting
from ark_taskqueue import Client, DemandSpan, QueueKeys, TaskQueueError, read_demand

_SHARE = 0.05 / 300
"""Of a core, that a pool's choices take on average, at most."""
_READ_SECONDS = 5.0
_CHOICE_SECONDS = 120.0
"""The most that a choice may take."""
_USUAL_SECONDS, _LONG_SECONDS = 0.8, 10.0
"""Of a choice that begins at the present sizing. A pool's first one takes longer, and counts as one of these unless it
takes very long: it comes of a short record, and is to be looked at again soon."""
_LONGEST_PAUSE_SECONDS = 86_400.0
"""After a choice that took very long."""
_LONGEST_ERROR = 2000
"""Characters of what a failed process said that are logged."""


class NotAnswered(Exception):
    """The process that chooses has failed; the message says how."""


@dataclass(slots=True)
class _Turn:
    """When a pool is looked at, and what came of it."""

    look_at: float
    choose_at: float
    sizing: Sizing | None = None
    """None until there is an answer."""
    wanted: tuple[object, ...] = ()
    """What it is an answer to, see `_wants`."""


def _wants(agent: Agent) -> tuple[object, ...]:
    """Return what of an agent its sizing is chosen for; Pods that start a little sooner change nothing."""
    return agent.redis, agent.queue, own_setting(agent), pool_of(agent, 1.0)


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
        self._turns: dict[Key, _Turn] = {}
        log = structlog.get_logger(component="sizings")
        self._log = log
        self._unread = Outages(
            log, "agent", "cannot read the record of a queue: its pool's sizing stays", "the record can be read again"
        )
        self._unchosen = Outages(
            log, "agent", "cannot choose a pool's sizing: it stays", "a pool's sizing can be chosen again"
        )

    def sizing(self, agent: Agent) -> Sizing | None:
        """Return the sizing that an agent's record asks for; None where nobody knows, or the agent is another now."""
        turn = self._turns.get(agent.key)
        if turn is None or self._queue_of(agent) is None or turn.wanted != _wants(agent):
            return None
        return turn.sizing

    async def run(self) -> None:
        """Choose until cancelled; what was chosen stands in the agents' statuses then."""
        try:
            while True:
                for key in self._due():
                    await self._look(key)
                await asyncio.sleep(self._seconds / 60)
        finally:
            self._turns.clear()

    def _due(self) -> list[Key]:
        """Return the agents whose turn it is; those that are new have theirs at some time of the interval."""
        now, agents = self._clock(), set(self._cluster.agents)
        for key in self._turns.keys() - agents:
            del self._turns[key]
        for outages in (self._unread, self._unchosen):
            outages.keep({"/".join(key) for key in agents})
        for key in agents - self._turns.keys():
            agent = self._cluster.agent(key)
            sized = agent is not None and chosen_setting(agent) is not None
            look_at = now + random.uniform(0, self._seconds)  # noqa: S311 - no secret
            # A new leader spreads the choices of pools that have a sizing.
            spread = random.uniform(0, _USUAL_SECONDS / _SHARE) if sized else 0.0  # noqa: S311 - no secret
            self._turns[key] = _Turn(look_at, now + spread)
        return [key for key, turn in self._turns.items() if now >= turn.look_at]

    async def _look(self, key: Key) -> None:
        turn, agent, place = self._turns[key], self._cluster.agent(key), "/".join(key)
        turn.look_at = self._clock() + self._seconds
        queue = None if agent is None else self._queue_of(agent)
        if turn.sizing is not None and (agent is None or queue is None or turn.wanted != _wants(agent)):
            turn.sizing, turn.choose_at = None, self._clock()  # it was an answer to something else
        if agent is None or queue is None or agent.start_seconds is None:
            return
        try:
            sizing = await self._answer(turn, agent, queue, agent.start_seconds)
        except (TaskQueueError, TimeoutError) as error:
            self._metrics.sizings.labels("failed").inc()
            self._unread.fails(place, str(error) or f"no answer within {_READ_SECONDS:g} s")
        except NotAnswered as error:
            self._metrics.sizings.labels("failed").inc()
            self._unchosen.fails(place, str(error))
        except Exception:  # noqa: BLE001 - one pool's trouble must not be the others'
            self._metrics.sizings.labels("failed").inc()
            self._log.exception("a bug in the operator: this pool's sizing stays", agent=place)
        else:
            self._unread.answers(place)
            if sizing is not None:
                self._unchosen.answers(place)
                turn.sizing, turn.wanted = sizing, _wants(agent)
                self._touched(key)

    async def _answer(self, turn: _Turn, agent: Agent, queue: QueueKeys, start_seconds: float) -> Sizing | None:
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
        if self._clock() < turn.choose_at:
            return None
        safe = own_setting(agent)
        question = Question(record, pool_of(agent, start_seconds), safe, safe.target_wait_seconds, present)
        before = _cpu_seconds()
        try:
            sizing = await ask(question)
        finally:
            took = _cpu_seconds() - before
            self._metrics.sizing_seconds.inc(took)
            counted = min(took, _USUAL_SECONDS) if present is None and took < _LONG_SECONDS else took
            turn.choose_at = self._clock() + min(counted / _SHARE, _LONGEST_PAUSE_SECONDS)
        self._metrics.sizings.labels("chosen").inc()
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
