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
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ark_taskqueue.errors import NotAStream, TaskQueueError
from ark_taskqueue.keys import QueueKeys
from ark_taskqueue.priority import PRIORITIES
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
class _Stream:
    """What depth.lua says of the stream of one priority."""

    key: str
    length: int
    undelivered: int
    """-1 where they are still to be counted."""
    pending: int
    returned: int
    delivered_id: str
    watch_after: str
    oldest_id: str
    exact: bool = True
    """False where `undelivered` is an upper bound."""

    @property
    def orphaned(self) -> int:
        return max(0, self.pending - (self.length - self.undelivered)) if self.exact else 0


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """The reply of depth.lua."""

    now_ms: int
    mean_service_ms: str
    streams: tuple[_Stream, ...]

    def depth(self) -> Depth:
        streams = self.streams
        returned = sum(stream.returned for stream in streams)
        submitted = [milliseconds_of(stream.oldest_id) for stream in streams if stream.oldest_id]
        return Depth(
            waiting=sum(stream.undelivered for stream in streams) + returned,
            in_flight=sum(stream.pending for stream in streams) - returned,
            length=sum(stream.length for stream in streams),
            exact=all(stream.exact for stream in streams),
            oldest_waiting_ms=max(0, self.now_ms - min(submitted, default=self.now_ms)),
            mean_service_ms=float(self.mean_service_ms) if self.mean_service_ms else None,
            watch_after=None if "" in (after := tuple(stream.watch_after for stream in streams)) else after,
            orphaned=sum(stream.orphaned for stream in streams),
        )


_FROM_EMPTY = "0-0"
_NEVER_USED = Depth(0, 0, 0, True, 0, None, (_FROM_EMPTY,) * len(PRIORITIES))
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
    return [await _counted(client, item, deadline) if isinstance(item, _Snapshot) else item for item in read]


def _call(queue: QueueKeys, watch_up_to: int) -> Call:
    return (*queue.streams, queue.stats), (queue.group, "\n".join(RESERVED), _PAGE, watch_up_to)


def _decode(queue: QueueKeys, reply: Any) -> Depth | _Snapshot | TaskQueueError:
    """Decode one reply of depth.lua; a snapshot has undelivered entries that are still to be counted."""
    error = error_of(reply, f"read {queue.name}")
    if error is not None:
        # Redis 6.2 puts the code of an error inside a script into the middle of the message.
        wrong = re.search(r"WRONGTYPE <(.*?)>", str(reply))
        return NotAStream(wrong[1]) if wrong else error
    now_ms, mean_service_ms, high, normal, low = reply
    if not (high or low or mean_service_ms or normal[0] or normal[2]):
        return _NEVER_USED
    wanted = bool(normal[5])
    streams = tuple(
        _stream(key, numbers, wanted) for key, numbers in zip(queue.streams, (high, normal, low), strict=True)
    )
    snapshot = _Snapshot(now_ms, text(mean_service_ms), streams)
    return snapshot if any(stream.undelivered < 0 for stream in streams) else snapshot.depth()


def _stream(key: str, reply: Any, watched: bool) -> _Stream:
    if not reply:
        return _Stream(key, 0, 0, 0, 0, "", _FROM_EMPTY if watched else "", "")
    length, undelivered, pending, returned, delivered_id, watch_after, oldest_id = reply
    return _Stream(key, length, undelivered, pending, returned, text(delivered_id), text(watch_after), text(oldest_id))


async def _counted(client: Client, snapshot: _Snapshot, deadline: float) -> Depth | TaskQueueError:
    """Count in the time that is left; an upper bound where it does not suffice: no queue may keep others waiting."""
    try:
        streams = tuple([await _with_count(client, stream, deadline) for stream in snapshot.streams])
    except TaskQueueError as error:
        return error
    return replace(snapshot, streams=streams).depth()


async def _with_count(client: Client, stream: _Stream, deadline: float) -> _Stream:
    if stream.undelivered >= 0:
        return stream
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            undelivered, exact = await _count_undelivered(client, stream)
    except TimeoutError:
        undelivered, exact = stream.length, False
    return replace(stream, undelivered=undelivered, exact=exact)


async def _count_undelivered(client: Client, stream: _Stream) -> tuple[int, bool]:
    """Return the undelivered entries, and whether that is exact."""
    delivered, all_delivered = await _count(client, stream.key, "-", stream.delivered_id)
    if all_delivered:
        return stream.length - delivered, True
    undelivered, all_undelivered = await _count(client, stream.key, f"({stream.delivered_id}", "+")
    if all_undelivered:
        return undelivered, True
    return max(undelivered, stream.length - delivered), False


async def _count(client: Client, key: str, start: str, end: str) -> tuple[int, bool]:
    """Count entries of a range in pages, up to the limit; return the count and whether it is all of them."""
    total = 0
    while total < COUNT_LIMIT:
        counted, last_id = await _COUNT.run(client, (key,), start, end, _PAGE)
        total += counted
        if counted < _PAGE:
            return total, True
        start = f"({text(last_id)}"
    return total, False
