"""What can go wrong with a task queue.

    TaskQueueError
    ├── InvalidAddress      a Redis URL that cannot be used
    ├── InvalidQueueName    a queue or stream name that cannot be used
    ├── QueueFull           a submission beyond the queue's greatest depth
    ├── RedisUnavailable    Redis did not answer, in time or at all: nothing is known, try again
    └── RedisRefused        Redis answered with an error: trying again will not help
        └── NotAStream      the key holds something else than a stream

A task that is no longer the caller's is no error but an answer (see `ark_taskqueue.consumer`).
"""

from __future__ import annotations


class TaskQueueError(Exception):
    """Base of every error of this package."""


class InvalidAddress(TaskQueueError):
    """A Redis URL is malformed; the message never contains its password."""


class InvalidQueueName(TaskQueueError):
    """A queue's or stream's name is malformed."""

    def __init__(self, name: str, allowed: str) -> None:
        super().__init__(f"queue name {name!r} is not {allowed}")
        self.name = name
        self.allowed = allowed


class QueueFull(TaskQueueError):
    """A submission was refused because the queue already holds ``max_depth`` tasks."""

    def __init__(self, stream: str, max_depth: int) -> None:
        super().__init__(
            f"queue {stream} holds {max_depth} tasks or more, the most it may: "
            "submit again later, add workers, or raise max_depth"
        )
        self.stream = stream
        self.max_depth = max_depth


class RedisUnavailable(TaskQueueError):
    """Redis could not be reached, did not answer in time, or is loading or failing over."""


class RedisRefused(TaskQueueError):
    """Redis answered with an error, for example a missing permission."""


class NotAStream(RedisRefused):
    """The queue's key exists and holds another type than a stream."""

    def __init__(self, stream: str) -> None:
        super().__init__(f"Redis key {stream} is not a stream: rename or delete it, or use another queue")
        self.stream = stream
