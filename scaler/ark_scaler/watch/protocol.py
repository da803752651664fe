"""What a watch does, and whom it tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ark_taskqueue import QueueKeys, TaskQueueError


class Watcher(Protocol):
    """Who is told what the watch sees."""

    def woken(self, queues: Sequence[QueueKeys]) -> None:
        """New entries came to these queues; they are not watched any more."""

    def unsure(self, queues: Sequence[QueueKeys]) -> None:
        """These queues cannot be watched together; they are not watched any more, and must be read."""

    def contact(self) -> None:
        """Redis answered. After a loss: nothing is watched, everything must be read again."""

    def lost(self, error: TaskQueueError) -> None:
        """The connection was lost: what is watched still is so while this is said, and nothing is from then on."""


class Watch(Protocol):
    """Watches streams of one Redis."""

    def add(self, queue: QueueKeys, after: Sequence[str]) -> None:
        """Watch a queue for entries after an id in the stream of each priority."""

    def discard(self, queue: QueueKeys) -> None:
        """Watch a queue no longer, for now: it is not idle."""

    def forget(self, queue: QueueKeys) -> None:
        """Watch a queue no longer: nobody asks about it."""

    def has(self, queue: QueueKeys) -> bool:
        """Return whether a queue is watched, from the ids that were given on: nothing has come to it since."""

    def covers(self, queue: QueueKeys) -> bool:
        """Return whether Redis would tell at once of an entry that comes now."""

    def __len__(self) -> int: ...

    async def run(self) -> None:
        """Watch until cancelled; connects again by itself when the connection breaks."""
