"""The watch of all priorities: one blocking XREAD for the streams of normal tasks, and one for all others.

Each round names every stream that is watched, so one XREAD for all of them would make every wake-up cost three times as
much; and most queues have normal tasks alone. The streams of high and low priority stay in their round while a queue is
busy: a round that goes on costs nothing, and at worst the queue is read once too often.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from redis.asyncio import Redis

from ark_process.exceptions import leaves
from ark_scaler.watch.blocking import BlockingWatch, Rights
from ark_scaler.watch.connection import BLOCK_SECONDS, reconnecting
from ark_scaler.watch.protocol import Watcher
from ark_taskqueue import PRIORITIES, QueueKeys, TaskQueueError
from ark_taskqueue.redis.translation import translated

_OTHERS_BLOCK_SECONDS = 1.25 * BLOCK_SECONDS
"""So that the two together ask an idle Redis less than once a second."""


class PrioritiesWatch:
    """Watches a queue's streams of all priorities."""

    def __init__(self, client: Redis, commands: Redis, watcher: Watcher) -> None:
        self._client = client
        self._commands = commands
        self._watcher = watcher
        rights = Rights()
        others = [priority for priority in PRIORITIES if priority != "normal"]
        self._normal = BlockingWatch(client, commands, watcher, ["normal"], rights, BLOCK_SECONDS, leads=True)
        self._others = BlockingWatch(client, commands, watcher, others, rights, _OTHERS_BLOCK_SECONDS, leads=False)

    def __len__(self) -> int:
        return len(self._normal)

    def add(self, queue: QueueKeys, after: Sequence[str]) -> None:
        """See `Watch.add`."""
        ids = dict(zip(PRIORITIES, after, strict=True))
        self._normal.add(queue, ids)
        self._others.add(queue, ids)

    def discard(self, queue: QueueKeys) -> None:
        """See `Watch.discard`."""
        self._normal.discard(queue)

    def forget(self, queue: QueueKeys) -> None:
        """See `Watch.forget`."""
        self._normal.discard(queue)
        self._others.discard(queue)

    def has(self, queue: QueueKeys) -> bool:
        """See `Watch.has`."""
        return self._normal.has(queue) and self._others.has(queue)

    def covers(self, queue: QueueKeys) -> bool:
        """See `Watch.covers`."""
        return self._normal.covers(queue) and self._others.covers(queue)

    async def run(self) -> None:
        """See `Watch.run`."""
        await reconnecting(self._session, self._lose)

    def _lose(self, error: TaskQueueError) -> None:
        self._watcher.lost(error)
        self._normal.clear()
        self._others.clear()

    async def _session(self, connected: Callable[[], None]) -> None:
        """Watch until either connection breaks: they may lead to two servers, one of which was replaced."""
        with translated("watch queues"):
            # Pooled connections may lead to a server that was replaced since.
            for client in (self._client, self._commands):
                await client.connection_pool.disconnect(inuse_connections=False)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._normal.session(connected))
                group.create_task(self._others.session(connected))
        except BaseExceptionGroup as failed:
            raise next(iter(leaves(failed))) from failed
