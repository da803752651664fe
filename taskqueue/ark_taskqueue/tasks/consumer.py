"""Take tasks from a queue and say how each one ended: the worker's side.

Every answer is fenced: complete, fail, give back and renew do nothing to a task that is no longer this delivery's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from redis.exceptions import ResponseError

from ark_taskqueue.errors import TaskQueueError
from ark_taskqueue.keys import QueueKeys
from ark_taskqueue.ledger.budget import Settlement
from ark_taskqueue.ledger.token_ledger import ledger_keys
from ark_taskqueue.priority import PRIORITIES, Priority, id_of, place_of
from ark_taskqueue.redis.client import Client
from ark_taskqueue.redis.script import Script
from ark_taskqueue.redis.translation import from_response, translated
from ark_taskqueue.tasks.answers import Counting, Ended, Reclaimed, ended_from
from ark_taskqueue.tasks.policy import (
    DEFAULT_RECORD_SECONDS,
    REFUSED_REMEMBER_SECONDS,
    REFUSED_WAIT_SECONDS,
    SUSPECT_WAIT_SECONDS,
    THROTTLED_SECONDS,
    Leases,
    LettersKept,
    RetryPolicy,
)
from ark_taskqueue.tasks.reserved import BACKOFF, GIVEN_BACK_IDLE_MS, HORIZON_MS, READY, REFUSED, SUSPECT
from ark_taskqueue.tasks.task import Outcome, Task, decoded, fields_from, outcome_fields, raw, text

_SERVICE_TIME_SAMPLES = 100
_RECLAIM_INTERVAL_SECONDS = 0.8
_FORGET_CONSUMER_SECONDS = 600.0
"""A consumer without tasks is made anew when its worker comes back; thousands of dead ones make every listing slow."""
_PAGE = 100
_ALONE, _REFUSED = 1, 2
"""What ``claim.lua`` says of a task that is no ordinary one."""
_NOTHING_TO_SETTLE = ("",) * 6

_CLAIM = Script("tasks/claim")
_COMPLETE = Script("tasks/complete")
_FAIL = Script("tasks/fail")
_GIVE_BACK = Script("tasks/give_back")
_RECLAIM = Script("tasks/reclaim")
_RENEW = Script("tasks/renew")
_REFUSE = Script("tasks/refuse")
_RETIRE = Script("tasks/retire")


class Consumer:
    """One worker of a queue, known by its name (the pod's).

    Args:
        client: see `ark_taskqueue.redis.client.connect`; its timeout must exceed the wait given to `wait_for_new`.
        queue: the queue.
        name: the consumer's name in the group; no other running worker may have it.
        leases: the same for all workers of the queue; its defaults where None.
        retries: when failed tasks are tried again; its defaults where None.
        letters: how many dead letters are kept; its defaults where None.
        record_seconds: for how long the queue's demand is kept on record; 0 for no record.
    """

    def __init__(
        self,
        client: Client,
        queue: QueueKeys,
        name: str,
        *,
        leases: Leases | None = None,
        retries: RetryPolicy | None = None,
        letters: LettersKept | None = None,
        record_seconds: float = DEFAULT_RECORD_SECONDS,
    ) -> None:
        self.name = name
        self.leases = leases or Leases()
        self._client = client
        self._queue = queue
        self._streams = queue.streams
        self._retries = retries or RetryPolicy()
        self._letters = letters or LettersKept()
        self._record_seconds = record_seconds
        self._server_minus_local_ms = 0.0
        self._with_group: Sequence[Priority] = ("normal",)
        """Priorities whose streams had the group at the last claim."""
        self.used: Sequence[Priority] = PRIORITIES
        """Priorities that the queue had tasks of at the last claim, highest first; all of them before the first one."""

    @property
    def most_failures(self) -> int:
        """How often a task may fail; see `RetryPolicy`."""
        return self._retries.max_failures

    async def claim(self, count: int, *, refused: bool = True, order: Sequence[Priority] = PRIORITIES) -> list[Task]:
        """Take up to `count` tasks at once: of each priority returned ones first, oldest first, then new ones.

        Refused ones come last. A suspect comes alone; see `Task.alone`. Makes the consumer group where it is missing.

        Args:
            count: the most.
            refused: whether to take tasks that were refused before.
            order: all priorities, in the order in which they are to be taken.

        Raises:
            RedisUnavailable: tasks may have been claimed whose ids are not known; their lease runs out.
            UnknownFormat: a later version has written the queue.
            RedisRefused: Redis answered with an error.
        """
        now_ms, places, used, *claimed = await _CLAIM.run(
            self._client,
            (*self._streams, self._queue.refused, self._queue.stats),
            self._queue.group,
            self.name,
            count,
            READY,
            REFUSED,
            SUSPECT,
            int(refused),
            _ms(REFUSED_WAIT_SECONDS),
            _ms(SUSPECT_WAIT_SECONDS),
            _ms(REFUSED_REMEMBER_SECONDS),
            "".join(str(place_of(priority)) for priority in order),
        )
        self._server_minus_local_ms = now_ms - time.monotonic() * 1000
        self._with_group, self.used = _priorities(places), _priorities(used)
        return [
            Task(text(id_), delivery, now_ms, fields_from(fields), alone=kind == _ALONE, refused=kind == _REFUSED)
            for id_, delivery, fields, kind in claimed
        ]

    async def wait_for_new(self, count: int, seconds: float) -> list[Task]:
        """Wait for a task that was never delivered, and take up to `count` of them; none after `seconds`.

        Do not cancel it where an answer is under way: a task that came with it would wait for its lease. Returned
        tasks do not end the wait, nor does the first one ever of a priority, so keep it short (a second) and call
        `claim` in between.

        Raises:
            RedisUnavailable, RedisRefused: see `claim`.
        """
        streams = {self._queue.stream_of(priority): priority for priority in self._with_group}
        command: tuple[Any, ...] = ("XREADGROUP", "GROUP", self._queue.group, self.name, "COUNT", count)
        command += ("BLOCK", max(1, int(seconds * 1000)), "STREAMS", *streams, *[">"] * len(streams))
        with translated("wait for tasks"):
            try:
                reply = await self._client.execute_command(*command)
            except ResponseError as error:
                if str(error).startswith("NOGROUP"):
                    return []  # a stream was deleted while we waited; `claim` makes the group again
                raise from_response(error, "wait for tasks") from error
        now_ms = int(time.monotonic() * 1000 + self._server_minus_local_ms)
        tasks = [
            Task(id_of(streams[text(stream)], text(entry_id)), 1, now_ms, decoded(fields))
            for stream, entries in reply or ()
            for entry_id, fields in entries
        ]
        with suppress(TaskQueueError):  # what cannot be given back comes back when its lease is over
            await self.give_back(tasks[count:])  # Redis counts in each stream anew
        return tasks[:count]

    async def renew(self, tasks: Sequence[Task]) -> list[Task]:
        """Renew the lease of tasks in one call; return the deliveries that are no longer this worker's.

        Raises:
            RedisUnavailable, RedisRefused: see `claim`.
        """
        if not tasks:
            return []
        reply = await _RENEW.run(self._client, self._streams, self._queue.group, self.name, *_deliveries(tasks))
        return [tasks[int(position) - 1] for position in reply]

    async def complete(
        self,
        task: Task,
        outcome: Outcome,
        service_seconds: float,
        settlement: Settlement | None = None,
        *,
        answered: bool = True,
    ) -> bool:
        """Finish a task: it leaves the queue, its result is stored and its last call settled, in one step.

        Returns False, and nothing but the settlement is written, when the task is no longer this delivery's. May be
        repeated when the answer was lost.

        Args:
            task: the delivery.
            outcome: what is stored for the producer.
            service_seconds: how long the work took; feeds the queue's mean service time.
            settlement: of a call that ended with the task; None where every call is settled.
            answered: whether the LLM's provider has answered a call of it: that proves that not all are refused.

        Raises:
            RedisUnavailable, RedisRefused: see `claim`.
        """
        service_ms = max(0, round(service_seconds * 1000))
        queue = self._queue
        keys = (queue.stream_of(task.priority), queue.result(task.id), queue.stats, queue.refused)
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
            int(answered),
            *outcome_fields(task, outcome, service_ms),
        )
        return bool(reply)

    async def fail(self, task: Task, error: str, *, final: bool = False) -> Ended:
        """Say that a task failed: it rests and is tried again, or becomes a dead letter after its last failure.

        Args:
            task: the delivery.
            error: why, for people.
            final: whether it would fail again however often it is tried; then this failure is its last.

        Raises:
            RedisUnavailable, RedisRefused: see `claim`.
        """
        most = 1 if final else self._retries.max_failures
        return ended_from(await _FAIL.run(self._client, self._failure_keys(task), *self._failure(task, error, most)))

    async def refuse(self, task: Task, error: str, counts: Counting = "proved") -> Ended:
        """Say that a task was refused, perhaps as every other would be: it is offered last, and it is no attempt.

        Where tasks that were begun after its first refusal have been completed, it is the task: then it is a failure.

        Args:
            task: the delivery.
            error: why, for people.
            counts: whether it is a failure: "proved" as above, "noted" as the first refusal but no failure within an
                hour of it, "always", or "never", which leaves no trace.

        Raises:
            RedisUnavailable, RedisRefused: see `claim`.
        """
        reply = await _REFUSE.run(
            self._client,
            self._failure_keys(task),
            *self._failure(task, error, self._retries.max_failures),
            REFUSED,
            counts,
            _ms(REFUSED_REMEMBER_SECONDS),
            _ms(THROTTLED_SECONDS),
        )
        return ended_from(reply)

    def _failure_keys(self, task: Task) -> tuple[str, ...]:
        queue = self._queue
        stream = queue.stream_of(task.priority)
        return (stream, queue.dead, queue.result(task.id), queue.stats, queue.refused, queue.once(""))

    def _failure(self, task: Task, error: str, most: int) -> tuple[str | bytes | int, ...]:
        rest = self._retries.rest(task.delivery)
        return (
            self._queue.group,
            self.name,
            task.id,
            task.delivery,
            most,
            min(_ms(rest), HORIZON_MS),
            raw(error),
            self._result_ms,
            BACKOFF,
            HORIZON_MS,
            self._letters.count,
            _ms(self._letters.seconds),
        )

    async def give_back(self, tasks: Sequence[Task]) -> set[str]:
        """Give tasks back untouched: each keeps its place and may be claimed at once, and it is no attempt.

        Returns the ids that were no longer this worker's.

        Raises:
            RedisUnavailable, RedisRefused: see `claim`.
        """
        if not tasks:
            return set()
        reply = await _GIVE_BACK.run(
            self._client,
            self._streams,
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
            (
                *self._streams,
                self._queue.dead,
                self._queue.stats,
                self._queue.result(""),
                self._queue.refused,
                self._queue.once(""),
                self._queue.demand,
            ),
            self._queue.group,
            _ms(self.leases.seconds),
            self._retries.max_failures,
            READY,
            BACKOFF,
            HORIZON_MS,
            self._result_ms,
            _ms(interval_seconds),
            _ms(_FORGET_CONSUMER_SECONDS),
            _PAGE,
            REFUSED,
            SUSPECT,
            self._letters.count,
            _ms(self._letters.seconds),
            _ms(self._record_seconds),
        )
        return None if reply is None else Reclaimed(*(int(number) for number in reply))

    async def retire(self) -> int:
        """End this worker: give back all that its consumer still holds, and remove the consumer.

        Returns how many tasks were given back: such that a claim took whose answer never came.

        Raises:
            RedisUnavailable, RedisRefused: see `claim`.
        """
        total = 0
        while True:
            reply = await _RETIRE.run(
                self._client, self._streams, self._queue.group, self.name, READY, GIVEN_BACK_IDLE_MS, _PAGE
            )
            total += int(reply)
            if int(reply) < _PAGE:
                return total

    @property
    def _result_ms(self) -> int:
        return _ms(self.leases.result_seconds)


def _priorities(places: bytes) -> list[Priority]:
    return [PRIORITIES[int(place) - 1] for place in sorted(text(places))]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _deliveries(tasks: Sequence[Task]) -> list[str | int]:
    return [argument for task in tasks for argument in (task.id, task.delivery)]
