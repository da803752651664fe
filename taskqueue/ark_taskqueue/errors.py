"""What can go wrong with a task queue.

    TaskQueueError
    ├── InvalidAddress      a Redis URL that cannot be used
    ├── InvalidQueueName    a queue or stream name that cannot be used
    ├── BudgetExceeded      tokens that do not fit into an agent's daily budget
    ├── QueueFull           a submission beyond the queue's greatest depth
    ├── KeyInUse            an idempotency key that was used for another task
    ├── ResultGone          a task that is neither queued nor has a result
    ├── RedisUnavailable    Redis did not answer, in time or at all: nothing is known, try again
    └── RedisRefused        Redis answered with an error: trying again will not help
        ├── NotAStream      the key holds something else than a stream
        └── UnknownFormat   a later version of Ark has written the queue

A task that is no longer the caller's is no error but an answer (see `ark_taskqueue.tasks.consumer`).
"""

from __future__ import annotations

from datetime import datetime


class TaskQueueError(Exception):
    """Base of every error of this package."""


class InvalidAddress(TaskQueueError):
    """A Redis URL is malformed; the message never contains its password."""


class InvalidQueueName(TaskQueueError):
    """The name of a queue, of its stream or of its group is malformed."""

    what = "queue name"

    def __init__(self, name: str, allowed: str) -> None:
        super().__init__(f"{self.what} {name!r} is not {allowed}")
        self.name = name
        self.allowed = allowed


class InvalidGroupName(InvalidQueueName):
    """A consumer group's name is malformed."""

    what = "consumer group"


class InvalidTaskId(TaskQueueError):
    """What was given as a task's id cannot be one."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"{task_id!r} is not a task id: one looks like 1764064800000-0, or high-1764064800000-0")


class QueueFull(TaskQueueError):
    """A submission was refused because the queue already holds ``max_depth`` tasks that are as urgent."""

    def __init__(self, stream: str, max_depth: int) -> None:
        super().__init__(
            f"queue {stream} is full, it holds {max_depth} tasks or more of this and higher priority: "
            "submit again later, add workers, or raise max_depth"
        )
        self.stream = stream
        self.max_depth = max_depth


class KeyInUse(TaskQueueError):
    """A submission has the idempotency key of another one with other contents: nothing was added."""

    def __init__(self, queue: str, task_id: str) -> None:
        super().__init__(
            f"the idempotency key was already used in queue {queue} for task {task_id} with different contents: "
            "use a key of its own for each task"
        )
        self.queue = queue
        self.task_id = task_id


class ResultGone(TaskQueueError):
    """A task has no result and will have none: it is neither waiting nor in flight."""

    def __init__(self, queue: str, task_id: str) -> None:
        super().__init__(
            f"task {task_id} of queue {queue} is neither waiting nor in flight and has no result: its result expired, "
            "or the task was deleted or never existed"
        )
        self.queue = queue
        self.task_id = task_id


class BudgetExceeded(TaskQueueError):
    """A call's tokens do not fit into what is left of the daily budget: make no call."""

    def __init__(
        self,
        agent: str,
        wanted: int,
        limit: int,
        used: int,
        reserved: int,
        restored_at: datetime | None,
        seconds: float | None,
    ) -> None:
        only_reserved = restored_at is None and wanted <= limit
        when = (
            f"fit at {restored_at:%Y-%m-%dT%H:%M:%SZ}"
            if restored_at is not None
            else "fit once running calls settle for less than they reserved"
            if only_reserved
            else "never fit: the call alone is above the limit"
        )
        super().__init__(
            f"{agent}: {wanted} tokens do not fit into the limit of {limit} tokens in 24 hours, "
            f"{used} are spent and {reserved} reserved; they will {when}"
        )
        self.used = used
        self.reserved = reserved
        self.restored_at = restored_at
        """When enough tokens will have left the 24 hours; UTC. None: see `passes_soon`."""
        self.seconds = seconds
        """How long that is from now, by the server's clock."""
        self.passes_soon = only_reserved
        """Whether only calls under way are in the way."""


class RedisUnavailable(TaskQueueError):
    """Redis could not be reached, did not answer in time, or is loading or failing over."""


class RedisRefused(TaskQueueError):
    """Redis answered with an error, for example a missing permission."""


class NotAStream(RedisRefused):
    """The queue's key exists and holds another type than a stream."""

    def __init__(self, stream: str) -> None:
        super().__init__(f"Redis key {stream} is not a stream: rename or delete it, or use another queue")
        self.stream = stream


class UnknownFormat(RedisRefused):
    """What is stored of a queue is in a format that this version cannot read: nothing was done.

    Args:
        doing: what was to be done.
        stored: the format, as stored.
        newest: the newest one that this version reads.
    """

    def __init__(self, doing: str, stored: str, newest: str) -> None:
        super().__init__(
            f"cannot {doing}: the queue is stored in format {stored}, and this version of Ark reads formats up to "
            f"{newest}: upgrade it"
        )
        self.stored = stored
