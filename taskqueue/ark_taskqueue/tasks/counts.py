"""What has become of a queue's tasks since it was made: counted by the scripts that end them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ark_taskqueue.errors import TaskQueueError
from ark_taskqueue.keys import QueueKeys
from ark_taskqueue.redis.client import Client
from ark_taskqueue.redis.pipeline import pipelined
from ark_taskqueue.redis.translation import error_of, translated

_FIELDS = ("completed", "retried", "dead", "dropped", "cancelled")


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers that only rise."""

    completed: int
    """Tasks."""
    retried: int
    """Attempts that failed and were to be repeated."""
    dead: int
    """Tasks that failed for good."""
    dropped: int
    """Dead letters that were too many, or too old, and went."""
    cancelled: int
    """Tasks that were cancelled."""


async def read_counts(client: Client, queues: Sequence[QueueKeys]) -> list[Counts | TaskQueueError]:
    """Read the counts of queues in one pipeline; an error takes the place of the counts that it keeps back.

    Raises:
        RedisUnavailable: none could be read.
    """
    with translated("read counts"):
        keys = [queue.stats for queue in queues]
        replies = await pipelined(client, keys, [("HMGET", key, *_FIELDS) for key in keys])
    found: list[Counts | TaskQueueError] = []
    for queue, reply in zip(queues, replies, strict=True):
        error = error_of(reply, f"read the counts of {queue.name}")
        found.append(error or Counts(*(int(value or 0) for value in reply)))
    return found
