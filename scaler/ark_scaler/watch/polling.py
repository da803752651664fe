"""The watch of a Redis Cluster, where one XREAD cannot name streams of several slots."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from redis.asyncio.cluster import RedisCluster
from redis.exceptions import NoPermissionError

from ark_scaler.watch.connection import BLOCK_SECONDS, reconnecting
from ark_scaler.watch.protocol import Watcher
from ark_scaler.watch.streams import Stream, Streams
from ark_taskqueue import QueueKeys, TaskQueueError
from ark_taskqueue.redis.cancellation import cancellable
from ark_taskqueue.redis.pipeline import pipelined
from ark_taskqueue.redis.translation import translated

_CLUSTER_POLL_SECONDS = 0.25
_CLUSTER_PAGE = 200


class PollingWatch:
    """Asks each stream four times a second, in pages."""

    def __init__(self, client: RedisCluster, watcher: Watcher) -> None:
        self._client = client
        self._watcher = watcher
        self._streams = Streams()

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, queue: QueueKeys, after: str) -> None:
        """See `Watch.add`."""
        self._streams.add(queue, after)

    def discard(self, queue: QueueKeys) -> None:
        """See `Watch.discard`."""
        self._streams.discard(queue)

    def has(self, queue: QueueKeys) -> bool:
        """See `Watch.has`."""
        return self._streams.has(queue)

    def covers(self, queue: QueueKeys) -> bool:  # noqa: ARG002 - as the protocol has it
        """See `Watch.covers`: between two polls nothing is seen."""
        return False

    async def run(self) -> None:
        """See `Watch.run`."""
        await reconnecting(self._session, self._lose)

    def _lose(self, error: TaskQueueError) -> None:
        self._watcher.lost(error)
        self._streams.clear()

    async def _session(self, connected: Callable[[], None]) -> None:
        with translated("watch queues"):
            while True:
                async with asyncio.timeout(BLOCK_SECONDS):
                    with cancellable(), contextlib.suppress(NoPermissionError):
                        await self._client.ping(target_nodes=RedisCluster.RANDOM)
                connected()
                self._watcher.contact()
                streams = list(self._streams.all())
                for start in range(0, len(streams), _CLUSTER_PAGE):
                    async with asyncio.timeout(BLOCK_SECONDS):
                        woken, unreadable = await self._poll(streams[start : start + _CLUSTER_PAGE])
                    self._watcher.woken(self._streams.pop(woken))
                    self._watcher.unsure(self._streams.pop(unreadable))
                await asyncio.sleep(_CLUSTER_POLL_SECONDS)

    async def _poll(self, streams: Sequence[Stream]) -> tuple[list[bytes], list[bytes]]:
        """Return which of the streams have entries after their ids, and which cannot be read."""
        commands = [("XREAD", "COUNT", 1, "STREAMS", stream.key, stream.after) for stream in streams]
        replies = await pipelined(self._client, [stream.key for stream in streams], commands)
        found = [(stream.key, reply) for stream, reply in zip(streams, replies, strict=True) if reply]
        unreadable = [key for key, reply in found if isinstance(reply, Exception)]
        return [key for key, reply in found if not isinstance(reply, Exception)], unreadable
