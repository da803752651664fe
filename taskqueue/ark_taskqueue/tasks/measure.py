"""Measures how deep queues are (contract C2).

``demand = undelivered + in flight``, in Redis' terms the group's lag plus its pending entries. A queue whose
workers delete what they complete has ``XLEN = demand``, others keep old entries, so XLEN alone says nothing.

Where the server does not know the lag (Redis 6.2 has none, Redis 7 answers NULL after some deletions and trims),
the undelivered entries are counted, without their payloads leaving Redis, and from either end of the stream: the
delivered entries that are still there are few on most queues, and the rest is undelivered. Counting ends after
`COUNT_LIMIT` entries on each side; then the depth is an upper bound and says so.

A failed read is an error and never a depth of zero.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ark_taskqueue.errors import NotAStream, TaskQueueError
from ark_taskqueue.keys import QueueKeys
from ark_taskqueue.redis.client import Client
from ark_taskqueue.redis.script import READS, Call, Script
from ark_taskqueue.redis.translation import error_of, translated
from ark_taskqueue.tasks.depth import Depth
from ark_taskqueue.tasks.reserved import RESERVED
from ark_taskqueue.tasks.task import milliseconds_of, text

COUNT_LIMIT = 10_000
"""Entries that are counted on each side of the group's position before the depth becomes an estimate."""
_COUNT_SECONDS = 0.15
"""The most that counting may take for all queues of one call, seconds."""
_PAGE = 500
"""Entries counted in one step, so that Redis is never busy for more than a millisecond or so."""

_DEPTH = Script("tasks/depth", READS)
_COUNT = Script("tasks/count", READS)


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """The reply of depth.lua, but for the undelivered entries."""

    now_ms: int
    length: int
    pending: int
    returned: int
    delivered_id: str
    watch_after: str
    oldest_id: str
    mean_service_ms: str

    def depth(self, undelivered: int, exact: bool) -> Depth:
        return Depth(
            waiting=undelivered + self.returned,
            in_flight=self.pending - self.returned,
            length=self.length,
            exact=exact,
            oldest_waiting_ms=max(0, self.now_ms - milliseconds_of(self.oldest_id)) if self.oldest_id else 0,
            mean_service_ms=float(self.mean_service_ms) if self.mean_service_ms else None,
            watch_after=self.watch_after or None,
            orphaned=max(0, self.pending - (self.length - undelivered)) if exact else 0,
        )


_NEVER_USED = Depth(0, 0, 0, True, 0, None, "0-0")
"""One object for the many queues that nobody has used yet."""


async def read_depth(client: Client, queue: QueueKeys) -> Depth:
    """Read one queue's depth.

    Raises:
        RedisUnavailable: it is not known.
        RedisRefused: this queue cannot be read.
    """
    [depth] = await read_depths(client, [queue])
    if isinstance(depth, TaskQueueError):
        raise depth
    return depth


async def read_depths(
    client: Client, queues: Sequence[QueueKeys], watch_up_to: Sequence[int] = ()
) -> list[Depth | TaskQueueError]:
    """Read the depths of queues in one pipeline; an error takes the place of the depth of the queue that has it.

    Args:
        client: see `ark_taskqueue.redis.client.connect`.
        queues: the queues.
        watch_up_to: for each queue the demand up to which `Depth.watch_after` is wanted; 0 for all where empty.

    Raises:
        RedisUnavailable: no queue could be read.
    """
    limits = watch_up_to or [0] * len(queues)
    calls = [_call(queue, limit) for queue, limit in zip(queues, limits, strict=True)]
    with translated("read queue depths"):
        replies = await _DEPTH.run_each(client, calls)
    read = [_decode(queue, reply) for queue, reply in zip(queues, replies, strict=True)]
    deadline = time.monotonic() + _COUNT_SECONDS
    return [
        await _counted(client, queue, item, deadline) if isinstance(item, _Snapshot) else item
        for queue, item in zip(queues, read, strict=True)
    ]


def _call(queue: QueueKeys, watch_up_to: int) -> Call:
    return (queue.stream, queue.stats), (queue.group, "\n".join(RESERVED), _PAGE, watch_up_to)


def _decode(queue: QueueKeys, reply: Any) -> Depth | _Snapshot | TaskQueueError:
    """Decode one reply of depth.lua; a snapshot is a depth whose undelivered entries are still to be counted."""
    error = error_of(reply, f"read {queue.name}")
    if error is not None:
        # Redis 6.2 puts the code of an error inside a script into the middle of the message.
        return NotAStream(queue.stream) if "WRONGTYPE" in str(reply) else error
    now_ms, length, undelivered, pending, returned, delivered_id, watch_after, oldest_id, mean_service_ms = reply
    if not (length or pending or mean_service_ms):
        return _NEVER_USED
    snapshot = _Snapshot(
        now_ms,
        length,
        pending,
        returned,
        text(delivered_id),
        text(watch_after),
        text(oldest_id),
        text(mean_service_ms),
    )
    return snapshot if undelivered < 0 else snapshot.depth(undelivered, exact=True)


async def _counted(client: Client, queue: QueueKeys, snapshot: _Snapshot, deadline: float) -> Depth | TaskQueueError:
    """Count in the time that is left; an upper bound where it does not suffice: no queue may keep others waiting."""
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            return await _count_undelivered(client, queue, snapshot)
    except TimeoutError:
        return snapshot.depth(snapshot.length, exact=False)
    except TaskQueueError as error:
        return error


async def _count_undelivered(client: Client, queue: QueueKeys, snapshot: _Snapshot) -> Depth:
    delivered, all_delivered = await _count(client, queue, "-", snapshot.delivered_id)
    if all_delivered:
        return snapshot.depth(snapshot.length - delivered, exact=True)
    undelivered, all_undelivered = await _count(client, queue, f"({snapshot.delivered_id}", "+")
    if all_undelivered:
        return snapshot.depth(undelivered, exact=True)
    return snapshot.depth(max(undelivered, snapshot.length - delivered), exact=False)


async def _count(client: Client, queue: QueueKeys, start: str, end: str) -> tuple[int, bool]:
    """Count entries of a range in pages, up to the limit; return the count and whether it is all of them."""
    total = 0
    while total < COUNT_LIMIT:
        counted, last_id = await _COUNT.run(client, (queue.stream,), start, end, _PAGE)
        total += counted
        if counted < _PAGE:
            return total, True
        start = f"({text(last_id)}"
    return total, False
