"""Take tasks from a queue and say how each one ended: the worker's side.

The life of a task, all of it in Redis (nothing is ever only in a worker's memory)::

    undelivered --claim--> in flight --complete--> result
                              |  ^
                 give back,   |  |  claim (before any undelivered task)
                 lease over   v  |
                            ready <--reclaim-- backoff <--fail-- in flight --last failure--> dead letter

"Ready" and "backoff" are two reserved consumers of the group. A task that is given back or fails stays in the
group's pending entries and only changes its consumer, so it keeps its id, its place and its delivery count, and
every reader of the queue's depth goes on counting it.

A pending entry has one time, when it was last delivered. In backoff it says when the task is due: that moment minus
`HORIZON_MS`, since Redis takes no delivery time that lies in the future.

Every answer is fenced: complete, fail, give back and renew do nothing to a task that is no longer this delivery's.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from redis.exceptions import ResponseError

from ark_taskqueue.connection import Client, from_response, translated
from ark_taskqueue.keys import QueueKeys
from ark_taskqueue.ledger import Settlement, ledger_keys
from ark_taskqueue.retry import RetryPolicy
from ark_taskqueue.script import Script
from ark_taskqueue.task import Outcome, Task, decoded, fields_from, outcome_fields, raw, text

READY = "ark:ready"
"""Reserved consumer that holds the tasks that anybody may take."""
BACKOFF = "ark:backoff"
"""Reserved consumer that holds the failed tasks until they are due."""
HORIZON_MS = 365 * 24 * 3600 * 1000
"""How far a due time is moved into the past, milliseconds; also the longest backoff."""
GIVEN_BACK_IDLE_MS = 24 * 3600 * 1000
"""Idle time of a task that was given back, milliseconds: beyond any lease, for readers other than this package."""

DEFAULT_LEASE_SECONDS = 60.0
DEFAULT_RESULT_SECONDS = 3600.0
_SERVICE_TIME_SAMPLES = 100
_RECLAIM_INTERVAL_SECONDS = 1.0
_FORGET_CONSUMER_SECONDS = 24 * 3600.0
_PAGE = 100
_NOTHING_TO_SETTLE = ("",) * 6

_CLAIM = Script("claim")
_COMPLETE = Script("complete")
_FAIL = Script("fail")
_GIVE_BACK = Script("give_back")
_RECLAIM = Script("reclaim")
_RENEW = Script("renew")
_RETIRE = Script("retire")


@dataclass(frozen=True, slots=True)
class Leases:
    """How long a worker may be silent, and how long its results are kept."""

    seconds: float = DEFAULT_LEASE_SECONDS
    """A task whose worker did not renew it for so long is given to another one. The same for a queue's workers."""
    result_seconds: float = DEFAULT_RESULT_SECONDS
    """Time to live of a result."""

    @property
    def renew_every(self) -> float:
        """Seconds between renewals: two may be lost before the lease runs out."""
        return self.seconds / 3


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """What one pass over the pending entries did."""

    rested: int
    """Tasks made claimable after their backoff."""
    expired: int
    """Tasks made claimable because their worker's lease ran out."""
    buried: int
    """Tasks moved to the dead letters because their workers died as often as a task may fail."""


class Consumer:
    """One worker of a queue, known by its name (the pod's)."""

    def __init__(
        self,
        client: Client,
        queue: QueueKeys,
        name: str,
        *,
        leases: Leases | None = None,
        retries: RetryPolicy | None = None,
    ) -> None:
        """
        Args:
            client: see `ark_taskqueue.connection.connect`; its timeout must exceed the wait given to `wait_for_new`.
            queue: the queue.
            name: the consumer's name in the group; no other running worker may have it.
            leases: the same for all workers of the queue; its defaults where None.
            retries: when failed tasks are tried again; its defaults where None.
        """
        self.name = name
        self.leases = leases or Leases()
        self._client = client
        self._queue = queue
        self._retries = retries or RetryPolicy()
        self._server_minus_local_ms = 0.0

    async def claim(self, count: int) -> list[Task]:
        """Take up to `count` tasks at once: returned ones first, oldest first, then new ones.

        Makes the consumer group where it is missing.

        Raises:
            RedisUnavailable: tasks may have been claimed whose ids are not known; their lease runs out.
            RedisRefused: Redis answered with an error.
        """
        reply = await _CLAIM.run(self._client, (self._queue.stream,), self._queue.group, self.name, count, READY)
        now_ms = int(reply[0])
        self._server_minus_local_ms = now_ms - time.monotonic() * 1000
        return [Task(text(id_), delivery, now_ms, fields_from(fields)) for id_, delivery, fields in reply[1:]]

    async def wait_for_new(self, count: int, seconds: float) -> list[Task]:
        """Wait for a task that was never delivered, and take up to `count` of them; none after `seconds`.

        Do not cancel it where an answer is under way: a task that came with it would wait for its lease. Returned
        tasks do not end the wait, so keep it short (a second) and call `claim` in between.

        Raises:
            RedisUnavailable, RedisRefused: see `claim`.
        """
        stream, group = self._queue.stream, self._queue.group
        command: tuple[Any, ...] = ("XREADGROUP", "GROUP", group, self.name, "COUNT", count)
        command += ("BLOCK", max(1, int(seconds * 1000)), "STREAMS", stream, ">")
        with translated("wait for tasks"):
            try:
                reply = await self._client.execute_command(*command)
            except ResponseError as error:
                if str(error).startswith("NOGROUP"):
                    return []  # the stream was deleted while we waited; `claim` makes the group again
                raise from_response(error, "wait for tasks") from error
        if not reply:
            return []
        [[_, entries]] = reply
        now_ms = int(time.monotonic() * 1000 + self._server_minus_local_ms)
        return [Task(text(id_), 1, now_ms, decoded(fields)) for id_, fields in entries]

    async def renew(self, tasks: Sequence[Task]) -> list[Task]:
        """Renew the lease of tasks in one call; answer the deliveries that are no longer this worker's.

        Raises:
            RedisUnavailable, RedisRefused: see `claim`.
        """
        if not tasks:
            return []
        reply = await _RENEW.run(self._client, (self._queue.stream,), self._queue.group, self.name, *_deliveries(tasks))
        return [tasks[int(position) - 1] for position in reply]

    async def complete(
        self, task: Task, outcome: Outcome, service_seconds: float, settlement: Settlement | None = None
    ) -> bool:
        """Finish a task: it leaves the queue, its result is stored and its last call settled, in one step.

        Answers False, and nothing but the settlement is written, when the task is no longer this delivery's. May be
        repeated when the answer was lost.

        Args:
            task: the delivery.
            outcome: what is stored for the producer.
            service_seconds: how long the work took; feeds the queue's mean service time.
            settlement: of a call that ended with the task; None where every call is settled.

        Raises:
            RedisUnavailable, RedisRefused: see `claim`.
        """
        service_ms = max(0, round(service_seconds * 1000))
        keys = (self._queue.stream, self._queue.result(task.id), self._queue.stats)
        reply = await _COMPLETE.run(
            self._client,
            keys if settlement is None else (*keys, *ledger_keys(self._queue)),
            self._queue.group,
            self.name,
            task.id,
            task.delivery,
            self._result_ms,
            service_ms,
            _SERVICE_TIME_SAMPLES,
            *(_NOTHING_TO_SETTLE if settlement is None else settlement.arguments),
            *outcome_fields(task, outcome, service_ms),
        )
        return bool(reply)

    async def fail(self, task: Task, error: str, *, final: bool = False) -> Literal["retry", "dead", "lost"]:
        """Say that a task failed: it rests and is tried again, or becomes a dead letter after its last failure.

        Answers what became of it; "lost" when it is no longer this delivery's, and then nothing is written.

        Args:
            task: the delivery.
            error: why, for people.
            final: whether it would fail again however often it is tried; then this failure is its last.

        Raises:
            RedisUnavailable, RedisRefused: see `claim`.
        """
        backoff_ms = round(self._retries.backoff(task.delivery, random.random()) * 1000)  # noqa: S311 - no secret
        reply = await _FAIL.run(
            self._client,
            (self._queue.stream, self._queue.dead, self._queue.result(task.id), self._queue.stats),
            self._queue.group,
            self.name,
            task.id,
            task.delivery,
            1 if final else self._retries.max_failures,
            min(backoff_ms, HORIZON_MS),
            raw(error),
            self._result_ms,
            BACKOFF,
            HORIZON_MS,
        )
        outcome = text(reply)
        return "retry" if outcome == "retry" else "dead" if outcome == "dead" else "lost"

    async def give_back(self, tasks: Sequence[Task]) -> set[str]:
        """Give tasks back untouched: each keeps its place and may be claimed at once, and it is no attempt.

        Answers the ids that were no longer this worker's.

        Raises:
            RedisUnavailable, RedisRefused: see `claim`.
        """
        if not tasks:
            return set()
        reply = await _GIVE_BACK.run(
            self._client,
            (self._queue.stream,),
            self._queue.group,
            self.name,
            READY,
            GIVEN_BACK_IDLE_MS,
            *_deliveries(tasks),
        )
        return {text(id_) for id_ in reply}

    async def reclaim(self, interval_seconds: float = _RECLAIM_INTERVAL_SECONDS) -> Reclaimed | None:
        """Make tasks claimable whose backoff is over or whose worker died; None when another worker just did it.

        Raises:
            RedisUnavailable, RedisRefused: see `claim`.
        """
        reply = await _RECLAIM.run(
            self._client,
            (self._queue.stream, self._queue.dead, self._queue.stats, self._queue.result("")),
            self._queue.group,
            round(self.leases.seconds * 1000),
            self._retries.max_failures,
            READY,
            BACKOFF,
            HORIZON_MS,
            self._result_ms,
            round(interval_seconds * 1000),
            round(_FORGET_CONSUMER_SECONDS * 1000),
            _PAGE,
        )
        return None if reply is None else Reclaimed(*(int(number) for number in reply))

    async def retire(self) -> int:
        """End this worker: give back all that its consumer still holds, and remove the consumer.

        Answers how many tasks were given back: such that a claim took whose answer never came.

        Raises:
            RedisUnavailable, RedisRefused: see `claim`.
        """
        total = 0
        while True:
            reply = await _RETIRE.run(
                self._client, (self._queue.stream,), self._queue.group, self.name, READY, GIVEN_BACK_IDLE_MS, _PAGE
            )
            total += int(reply)
            if int(reply) < _PAGE:
                return total

    @property
    def _result_ms(self) -> int:
        return round(self.leases.result_seconds * 1000)


def _deliveries(tasks: Sequence[Task]) -> list[str | int]:
    return [argument for task in tasks for argument in (task.id, task.delivery)]
