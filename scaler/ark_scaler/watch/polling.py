"""The watch of a Redis Cluster, where one XREAD cannot name streams of several slots."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from redis.asyncio.cluster import RedisCluster
from redis.exceptions import NoPermissionError

from ark_scaler.watch.connection import BLOCK_SECONDS, reconnecting
from ark_scaler.watch.protocol import Watcher
from ark_taskqueue import QueueKeys, TaskQueueError
from ark_taskqueue.redis.cancellation import cancellable
from ark_taskqueue.redis.pipeline import pipelined
from ark_taskqueue.redis.translation import translated

_CLUSTER_POLL_SECONDS = 0.25
_CLUSTER_PAGE = 200


class PollingWatch:
    """Asks each queue four times a second, in pages."""

    def __init__(self, client: RedisCluster, watcher: Watcher) -> None:
        self._client = client
        self._watcher = watcher
        self._after: dict[QueueKeys, Sequence[str]] = {}

    def __len__(self) -> int:
        return len(self._after)

    def add(self, queue: QueueKeys, after: Sequence[str]) -> None:
        """See `Watch.add`."""
        self._after[queue] = after

    def discard(self, queue: QueueKeys) -> None:
        """See `Watch.discard`."""
        self._after.pop(queue, None)

    def forget(self, queue: QueueKeys) -> None:
        """See `Watch.forget`."""
        self.discard(queue)

    def has(self, queue: QueueKeys) -> bool:
        """See `Watch.has`."""
        return queue in self._after

    def covers(self, queue: QueueKeys) -> bool:  # noqa: ARG002 - as the protocol has it
        """See `Watch.covers`: between two polls nothing is seen."""
        return False

    async def run(self) -> None:
        """See `Watch.run`."""
        await reconnecting(self._session, self._lose)

    def _lose(self, error: TaskQueueError) -> None:
        self._watcher.lost(error)
        self._after.clear()

    async def _session(self, connected: Callable[[], None]) -> None:
        with translated("watch queues"):
            while True:
                async with asyncio.timeout(BLOCK_SECONDS):
                    with cancellable(), contextlib.suppress(NoPermissionError):
                        await self._client.ping(target_nodes=RedisCluster.RANDOM)
                connected()
                self._watcher.contact()
                queues = list(self._after.items())
                for start in range(0, len(queues), _CLUSTER_PAGE):
                    async with asyncio.timeout(BLOCK_SECONDS):
                        woken, unreadable = await self._poll(queues[start : start + _CLUSTER_PAGE])
                    self._watcher.woken(self._popped(woken))
                    self._watcher.unsure(self._popped(unreadable))
                await asyncio.sleep(_CLUSTER_POLL_SECONDS)

    def _popped(self, queues: Sequence[QueueKeys]) -> list[QueueKeys]:
        """Remove queues from the watch; return those that were in it."""
        return [queue for queue in queues if self._after.pop(queue, None) is not None]

    async def _poll(self, queues: Sequence[tuple[QueueKeys, Sequence[str]]]) -> tuple[list[QueueKeys], list[QueueKeys]]:
        """Return which of the queues have entries after their ids, and which cannot be read."""
        commands = [("XREAD", "COUNT", 1, "STREAMS", *queue.streams, *after) for queue, after in queues]
        replies = await pipelined(self._client, [queue.stream for queue, _ in queues], commands)
        found = [(queue, reply) for (queue, _), reply in zip(queues, replies, strict=True) if reply]
        unreadable = [queue for queue, reply in found if isinstance(reply, Exception)]
        return [queue for queue, reply in found if not isinstance(reply, Exception)], unreadable
