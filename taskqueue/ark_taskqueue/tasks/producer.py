"""Submit tasks to a queue and read their results."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from ark_process.backoff import Backoff
from ark_taskqueue.errors import KeyInUse, QueueFull, ResultGone
from ark_taskqueue.keys import QueueKeys
from ark_taskqueue.priority import Priority, check_id, entry_of, place_of, priority_of
from ark_taskqueue.redis.client import Client
from ark_taskqueue.redis.script import READS, Script
from ark_taskqueue.redis.translation import translated
from ark_taskqueue.tasks import tracing
from ark_taskqueue.tasks.policy import DEFAULT_RESULT_SECONDS
from ark_taskqueue.tasks.reserved import BACKOFF, HORIZON_MS, READY, REFUSED, RESERVED, SUSPECT
from ark_taskqueue.tasks.state import TaskState, state_from
from ark_taskqueue.tasks.task import FIRST_ATTEMPT, Result, decoded, raw, result_from, text

DEFAULT_MAX_DEPTH = 10_000
"""Greatest number of tasks, waiting and in flight, that a queue takes; see `Producer`."""

_REMEMBER_SECONDS = 24 * 3600.0
_LOOKS = Backoff(first=0.02, longest=1.0)

ONCE = "ark.once"
"""Field of an entry with its idempotency key: a task that ends without an answer frees it (``submission.lua``)."""

_SUBMIT = Script("tasks/submit")
_CANCEL = Script("tasks/cancel")
_STATE = Script("tasks/state", READS)
_MOST_COUNTED = 250
"""Tasks of its priority that are counted ahead of one: their payloads pass through Redis' memory."""
Cancelled: TypeAlias = Literal["waiting", "running", "cancelled", "finished", "gone"]
"""What a task was when it was to be cancelled; nothing was done where it is "cancelled", "finished" or "gone"."""


@dataclass(frozen=True, slots=True)
class Submission:
    """The answer to a submitted task."""

    task_id: str
    is_new: bool
    """False when the idempotency key had been used: then `task_id` is the task of that time."""


class Producer:
    """Submits tasks to one queue and reads their results.

    Args:
        client: see `ark_taskqueue.redis.client.connect`.
        queue: the queue.
        max_depth: number of tasks in the queue, waiting and in flight, from which on a submission is refused. Those of
            lower priority do not count: they cannot keep an urgent task out.
    """

    def __init__(self, client: Client, queue: QueueKeys, max_depth: int = DEFAULT_MAX_DEPTH) -> None:
        self._client = client
        self._queue = queue
        self._keys = (*queue.streams, queue.stats)
        self._max_depth = max_depth

    async def submit(
        self,
        prompt: str = "",
        *,
        fields: Mapping[str, str] | None = None,
        meta: Mapping[str, Any] | None = None,
        traceparent: str | None = None,
        idempotency_key: str | None = None,
        remember_seconds: float = _REMEMBER_SECONDS,
        priority: Priority = "normal",
    ) -> Submission:
        """Add a task to the queue.

        Args:
            prompt: what the agent is asked.
            fields: further fields that the worker's handler reads.
            meta: anything that JSON can hold.
            traceparent: W3C trace context; where OpenTelemetry is set up, the submission has a span below it, or below
                the current one.
            idempotency_key: repeating a submission with the same key within `remember_seconds` adds nothing. Use one
                to repeat a submission whose answer was lost. It is free again when its task has failed for good, or was
                cancelled.
            remember_seconds: how long the key is remembered, a millisecond at least.
            priority: tasks of higher priority are taken first. Workers and scaler of earlier versions, which know none,
                refuse a queue once it has had a task of high or low priority (`UnknownFormat`).

        Raises:
            KeyInUse: the key was used for a task with other contents.
            QueueFull: the queue holds `max_depth` tasks of this priority and higher ones.
            ValueError: `meta` is nothing that JSON can hold, `remember_seconds` is too short, or `priority` is none.
            UnknownFormat: a later version has written the queue; nothing was added.
            RedisUnavailable: it is not known whether the task was added.
            RedisRefused: Redis answered with an error.
        """
        ttl_ms = int(remember_seconds * 1000)
        if ttl_ms < 1:
            raise ValueError(f"remember_seconds is {remember_seconds}: a key is remembered for 0.001 s at least")
        entry: list[str | bytes] = ["prompt", raw(prompt), "attempt", str(FIRST_ATTEMPT)]
        if meta:
            entry += ["meta", json.dumps(meta, allow_nan=False)]
        for name, value in (fields or {}).items():
            entry += [raw(name), raw(value)]
        digest = _digest(prompt, meta or {}, fields or {})
        keys: tuple[str, ...] = self._keys
        if idempotency_key is not None:
            keys += (self._queue.once(idempotency_key), self._queue.once_digest(idempotency_key))
            entry += [ONCE, raw(idempotency_key)]
        with tracing.submission(self._queue, traceparent) as context:
            if context:
                entry += ["traceparent", context]
            reply = await _SUBMIT.run(self._client, keys, place_of(priority), self._max_depth, ttl_ms, digest, *entry)
        if reply is None:
            raise QueueFull(self._queue.stream, self._max_depth)
        if reply[1] < 0:
            raise KeyInUse(self._queue.name, text(reply[0]))
        return Submission(text(reply[0]), reply[1] == 1)

    async def cancel(self, task_id: str) -> Cancelled:
        """Cancel a task: it leaves the queue, and its result says that it was cancelled.

        A worker that has the task ends its work within a second, and what that has cost stays booked. A task that is
        finished stays so.

        The call may be repeated. The result is kept for an hour.

        Raises:
            InvalidTaskId: it is none.
            UnknownFormat, RedisUnavailable, RedisRefused: see `submit`.
        """
        queue = self._queue
        check_id(task_id)
        reply = await _CANCEL.run(
            self._client,
            (queue.stream_of(priority_of(task_id)), queue.result(task_id), queue.stats, queue.refused, queue.once("")),
            queue.group,
            task_id,
            int(DEFAULT_RESULT_SECONDS * 1000),
            "\n".join(RESERVED),
        )
        return cast("Cancelled", text(reply))

    async def state(self, task_id: str) -> TaskState:
        """Return where a task is: waiting, running, finished, and what is known of that.

        Raises:
            InvalidTaskId: it is none.
            UnknownFormat, RedisUnavailable, RedisRefused: see `submit`.
        """
        queue = self._queue
        check_id(task_id)
        reply = await _STATE.run(
            self._client,
            (*queue.streams, queue.result(task_id), queue.stats),
            queue.group,
            task_id,
            READY,
            BACKOFF,
            REFUSED,
            SUSPECT,
            HORIZON_MS,
            _MOST_COUNTED,
        )
        return state_from(task_id, reply)

    async def result(self, task_id: str) -> Result | None:
        """Return a task's result; None while it is not finished, and after the result's time to live.

        Raises:
            RedisUnavailable, RedisRefused: see `submit`.
        """
        with translated(f"read the result of task {task_id}"):
            stored = await self._client.execute_command("HGETALL", self._queue.result(task_id))
        return result_from(task_id, decoded(stored)) if stored else None

    async def is_queued(self, task_id: str) -> bool:
        """Return whether a task waits or is in flight; where it is not and has no result, its result's time is over.

        Raises:
            InvalidTaskId: it is none.
            RedisUnavailable, RedisRefused: see `submit`.
        """
        check_id(task_id)
        with translated(f"look for task {task_id}"):
            stream, entry_id = self._queue.stream_of(priority_of(task_id)), entry_of(task_id)
            return bool(await self._client.execute_command("XRANGE", stream, entry_id, entry_id))

    async def wait_for_result(self, task_id: str) -> Result:
        """Wait until a task is finished; bound it with `asyncio.timeout`.

        Looks more and more seldom, once a second at last.

        Raises:
            ResultGone: there is nothing to wait for.
            RedisUnavailable, RedisRefused: see `submit`.
        """
        looks = 0
        while (result := await self.result(task_id)) is None:
            # In this order: a task that is completed between the two looks has left the queue, and has its result.
            if not await self.is_queued(task_id):
                ended = await self.result(task_id)
                if ended is None:
                    raise ResultGone(self._queue.name, task_id)
                return ended
            looks += 1
            await asyncio.sleep(_LOOKS.pause(looks))
        return result


def _digest(prompt: str, meta: Mapping[str, Any], fields: Mapping[str, str]) -> str:
    """Return what tells the contents of one submission from another's, in whatever order they are given."""
    parts = [prompt, json.dumps(meta, allow_nan=False, sort_keys=True)]
    parts += [part for item in sorted(fields.items()) for part in item]
    hashed = hashlib.sha256()
    for encoded in map(raw, parts):
        hashed.update(b"%d:%b" % (len(encoded), encoded))
    return hashed.hexdigest()[:32]
