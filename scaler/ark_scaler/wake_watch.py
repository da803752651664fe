"""Watch idle queues for their first task: one blocking XREAD for all queues of a Redis.

A watched stream has an id from which on any entry is news. The id comes out of the same script call that found the
queue idle, so an XADD at any moment after that reading is seen, however late the watch begins. From an empty stream
the id is 0-0, and then a stream that was deleted and made anew, by FLUSHALL or with lower ids after a fail-over, is
seen too.

The set changes all the time, and a blocked connection takes no commands, so a change ends the block from another
connection (CLIENT UNBLOCK) and the XREAD is sent again, no more often than `_pause` says: both ends handle every
watched stream at each round. Where CLIENT UNBLOCK is not permitted, blocks are short instead.

In a Redis Cluster one XREAD cannot name streams of several slots, and so they are polled, four times a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, cast

import structlog
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from ark_taskqueue import Client, QueueKeys, RedisUnavailable, TaskQueueError
from ark_taskqueue.redis.cancellation import cancellable
from ark_taskqueue.redis.pipeline import pipelined
from ark_taskqueue.redis.translation import from_response, translated

BLOCK_SECONDS = 2.0
"""How long one XREAD blocks: so seldom is an idle Redis asked, and so soon is a dead connection noticed."""
_ANSWER_SECONDS = 0.5
"""How late an answer may be before the connection counts as dead, seconds."""
_BLOCK_SECONDS_UNINTERRUPTED = 0.25
"""The same where CLIENT UNBLOCK is not permitted: so late may the watch of a further queue begin."""
_UNBLOCK_TRIES = 50
_UNBLOCK_PAUSE_SECONDS = 0.005
_REFUSED_ROUNDS, _REFUSED_SECONDS = 3, 1.0
"""Rounds that Redis refused one after the other, and the pause between further ones."""
_POLL_SECONDS = 1.0
"""Between two readings of all idle queues where none can be watched."""
_CLUSTER_POLL_SECONDS = 0.25
_CLUSTER_PAGE = 200


class Watcher(Protocol):
    """Who is told what the watch sees."""

    def woken(self, queues: Sequence[QueueKeys]) -> None:
        """New entries came to these queues; they are not watched any more."""

    def unsure(self, queues: Sequence[QueueKeys]) -> None:
        """These queues cannot be watched together; they are not watched any more, and must be read."""

    def contact(self) -> None:
        """Redis answered. After a loss: nothing is watched, everything must be read again."""

    def lost(self, error: TaskQueueError) -> None:
        """The connection was lost: nothing is watched any more."""


class Watch(Protocol):
    """Watches streams of one Redis."""

    def add(self, queue: QueueKeys, after: str) -> None:
        """Watch a queue for entries after an id."""

    def discard(self, queue: QueueKeys) -> None:
        """Stop watching a queue."""

    def covers(self, queue: QueueKeys) -> bool:
        """Whether Redis would tell at once of an entry that comes now."""

    def __len__(self) -> int: ...

    async def run(self) -> None:
        """Watch until cancelled; connects again by itself when the connection breaks."""


def watch_of(client: Client, commands: Client, watcher: Watcher) -> Watch:
    """Make the watch that fits a kind of Redis.

    Args:
        client: for the watch alone.
        commands: for what interrupts it.
        watcher: is told what the watch sees.
    """
    if isinstance(client, RedisCluster):
        return PollingWatch(client, watcher)
    return BlockingWatch(client, cast("Redis", commands), watcher)


def _word(word: bytes) -> bytes:
    """Encode one word of a command (RESP bulk string)."""
    return b"$%d\r\n%s\r\n" % (len(word), word)


_EMPTY = "0-0"
_FROM_EMPTY = _word(_EMPTY.encode())


class _Stream:
    """A watched stream."""

    __slots__ = ("after", "after_word", "key", "key_word", "members", "queues", "round")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.key_word = _word(key)
        self.after = ""
        self.after_word = _FROM_EMPTY
        self.queues: tuple[QueueKeys, ...] = ()
        self.members = 0
        """Queues that the id was chosen for."""
        self.round = 0
        """Number of the XREAD round that has this stream and this id; 0 for none yet."""


class _Streams:
    """The watched streams, by key; several groups of one stream share its place."""

    def __init__(self) -> None:
        self._by_key: dict[bytes, _Stream] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def all(self) -> Iterable[_Stream]:
        return self._by_key.values()

    def get(self, queue: QueueKeys) -> _Stream | None:
        return self._by_key.get(queue.stream.encode())

    def add(self, queue: QueueKeys, after: str) -> bool:
        """Add a queue; answer whether the next round differs from the last."""
        key = queue.stream.encode()
        stream = self._by_key.get(key)
        if stream is None:
            stream = self._by_key[key] = _Stream(key)
        if queue not in stream.queues:
            stream.queues += (queue,)
        if len(stream.queues) > 1 and stream.after:
            # The earlier id of two groups: the later group is read once more than needed.
            after = min(after, stream.after, key=_id_order)
        if stream.after == after and len(stream.queues) == stream.members:
            return False
        stream.members = len(stream.queues)
        stream.after, stream.round = after, 0
        stream.after_word = _FROM_EMPTY if after == _EMPTY else _word(after.encode())
        return True

    def discard(self, queue: QueueKeys) -> None:
        stream = self.get(queue)
        if stream is not None:
            stream.queues = tuple(other for other in stream.queues if other != queue)
            if not stream.queues:
                del self._by_key[stream.key]

    def pop(self, keys: Iterable[bytes]) -> list[QueueKeys]:
        """Remove streams; answer their queues."""
        gone = [self._by_key.pop(key, None) for key in keys]
        return [queue for stream in gone if stream is not None for queue in stream.queues]

    def clear(self) -> None:
        self._by_key.clear()


class BlockingWatch:
    """The watch of a standalone Redis or of Sentinels' primary."""

    def __init__(self, client: Redis, commands: Redis, watcher: Watcher) -> None:
        self._client = client
        self._commands = commands
        self._watcher = watcher
        self._streams = _Streams()
        self._changed = asyncio.Event()
        self._round = 0
        self._blocked = False
        self._may_unblock = True
        self._may_watch = True
        self._refused_rounds = 0
        self._log = structlog.get_logger(component="watch")

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, queue: QueueKeys, after: str) -> None:
        """See `Watch.add`."""
        if self._streams.add(queue, after):
            self._changed.set()

    def discard(self, queue: QueueKeys) -> None:
        """See `Watch.discard`. What a round that is under way still finds is passed over."""
        self._streams.discard(queue)

    def covers(self, queue: QueueKeys) -> bool:
        """See `Watch.covers`."""
        stream = self._streams.get(queue)
        return self._blocked and stream is not None and stream.round == self._round

    async def run(self) -> None:
        """See `Watch.run`."""
        await _reconnecting(self._session, self._lose)

    def _lose(self, error: TaskQueueError) -> None:
        self._blocked = False
        self._streams.clear()
        self._watcher.lost(error)

    async def _session(self, connected: Callable[[], None]) -> None:
        """Watch over one connection until it breaks."""
        with translated("watch queues"):
            # Pooled connections may lead to a server that was replaced since.
            for client in (self._client, self._commands):
                await client.connection_pool.disconnect(inuse_connections=False)
            async with asyncio.timeout(BLOCK_SECONDS):
                with cancellable():
                    connection = await self._client.connection_pool.get_connection()
            try:
                await self._rounds(connection, connected)
            finally:
                self._blocked = False
                await connection.disconnect(nowait=True)
                await self._client.connection_pool.release(connection)

    async def _rounds(self, connection: AbstractConnection, connected: Callable[[], None]) -> None:
        client_id = await self._client_id(connection)
        self._watcher.contact()
        command = b""
        while True:
            if not self._may_watch:
                await self._poll_instead(connection, connected)
                continue
            if not len(self._streams):
                await self._wait_for_streams(connection)
            if self._changed.is_set() or not command:
                command = self._command()
            changes = await self._blocked_round(connection, command, client_id)
            connected()
            self._watcher.contact()
            if self._refused_rounds >= _REFUSED_ROUNDS:
                await asyncio.sleep(_REFUSED_SECONDS)
            if changes:
                command = b""
                await asyncio.sleep(_pause(len(self._streams)))

    async def _client_id(self, connection: AbstractConnection) -> int | None:
        """Return what CLIENT UNBLOCK needs; None where the user may not ask, or the server does not answer it."""
        try:
            client_id: int = await _ask(connection, "CLIENT", "ID")
        except ResponseError as error:
            if isinstance(from_response(error, "ask for the connection's id"), RedisUnavailable):
                raise
            self._may_unblock = False
            return None
        return client_id

    async def _poll_instead(self, connection: AbstractConnection, connected: Callable[[], None]) -> None:
        """Where XREAD is not permitted: have the queues read by themselves, as often as a Cluster's are asked."""
        await _see(connection)
        connected()
        self._watcher.contact()
        self._watcher.unsure(self._streams.pop([stream.key for stream in self._streams.all()]))
        await asyncio.sleep(_POLL_SECONDS)

    async def _wait_for_streams(self, connection: AbstractConnection) -> None:
        """Nothing is watched: only see that Redis lives."""
        while not len(self._streams):
            try:
                async with asyncio.timeout(BLOCK_SECONDS):
                    self._changed.clear()
                    await self._changed.wait()
            except TimeoutError:
                await _see(connection)
                self._watcher.contact()
        self._changed.set()

    def _command(self) -> bytes:
        """Encode the XREAD of all streams that are watched now, and count them as part of a new round."""
        self._changed.clear()
        self._round += 1
        keys: list[bytes] = []
        ids: list[bytes] = []
        for stream in self._streams.all():
            stream.round = self._round
            keys.append(stream.key_word)
            ids.append(stream.after_word)
        block = BLOCK_SECONDS if self._may_unblock else _BLOCK_SECONDS_UNINTERRUPTED
        words = [b"XREAD", b"COUNT", b"1", b"BLOCK", b"%d" % int(block * 1000), b"STREAMS"]
        # Joined from words that were encoded when the stream was added: this runs at each wake-up.
        return b"".join([b"*%d\r\n" % (len(words) + len(keys) + len(ids)), *map(_word, words), *keys, *ids])

    async def _blocked_round(self, connection: AbstractConnection, command: bytes, client_id: int | None) -> bool:
        """Send one XREAD and tell of the streams with new entries; answer whether the set of streams changes.

        Ends early when it is to change.
        """
        with cancellable():
            await connection.send_packed_command(command, check_health=False)
        self._blocked = True
        interrupting = asyncio.create_task(self._interrupt_on_change(client_id))
        try:
            async with asyncio.timeout(BLOCK_SECONDS + _ANSWER_SECONDS):
                reply = await connection.read_response(timeout=math.inf)
            self._blocked, self._refused_rounds = False, 0
            if reply:
                # Before anything else is awaited: pools wait for it.
                self._watcher.woken(self._streams.pop(key for key, _ in reply))
            return bool(reply) or self._changed.is_set()
        except ResponseError as error:
            self._give_up_round(error)
            return True
        finally:
            self._blocked = False
            interrupting.cancel()
            await asyncio.wait([interrupting])

    def _give_up_round(self, error: ResponseError) -> None:
        """One stream of the round became unreadable: have every one read by itself."""
        known = from_response(error, "watch queues")
        if isinstance(known, RedisUnavailable):
            raise known  # nothing can be watched: the session ends, and the next one comes after a pause
        self._refused_rounds += 1
        if isinstance(error, NoPermissionError) and self._refused_rounds >= _REFUSED_ROUNDS:
            # One key that may not be read is refused by its own reading; what is refused again is the command.
            self._may_watch = False
            self._log.warning(
                "Redis does not let this user watch queues, they are polled: wake-ups come up to a second later",
                error=str(error),
                remedy="permit XREAD, see docs/security.md",
            )
        self._watcher.unsure(self._streams.pop([stream.key for stream in self._streams.all()]))

    async def _interrupt_on_change(self, client_id: int | None) -> None:
        await self._changed.wait()
        if client_id is None or not self._may_unblock:
            return
        await asyncio.sleep(_pause(len(self._streams)))
        for _ in range(_UNBLOCK_TRIES):
            # 0 means that the XREAD has not arrived yet, or that it was answered just now.
            try:
                with translated("unblock the watch"):
                    if await self._commands.execute_command("CLIENT", "UNBLOCK", client_id):
                        return
            except TaskQueueError as error:
                self._may_unblock = isinstance(error, RedisUnavailable)  # else not permitted, or not there
                return
            await asyncio.sleep(_UNBLOCK_PAUSE_SECONDS)


class PollingWatch:
    """The watch of a Redis Cluster: asks each stream four times a second, in pages."""

    def __init__(self, client: RedisCluster, watcher: Watcher) -> None:
        self._client = client
        self._watcher = watcher
        self._streams = _Streams()

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, queue: QueueKeys, after: str) -> None:
        """See `Watch.add`."""
        self._streams.add(queue, after)

    def discard(self, queue: QueueKeys) -> None:
        """See `Watch.discard`."""
        self._streams.discard(queue)

    def covers(self, queue: QueueKeys) -> bool:  # noqa: ARG002 - as the protocol has it
        """See `Watch.covers`: between two polls nothing is seen."""
        return False

    async def run(self) -> None:
        """See `Watch.run`."""
        await _reconnecting(self._session, self._lose)

    def _lose(self, error: TaskQueueError) -> None:
        self._streams.clear()
        self._watcher.lost(error)

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

    async def _poll(self, streams: Sequence[_Stream]) -> tuple[list[bytes], list[bytes]]:
        """Answer which of the streams have entries after their ids, and which cannot be read."""
        commands = [("XREAD", "COUNT", 1, "STREAMS", stream.key, stream.after) for stream in streams]
        replies = await pipelined(self._client, [stream.key for stream in streams], commands)
        found = [(stream.key, reply) for stream, reply in zip(streams, replies, strict=True) if reply]
        unreadable = [key for key, reply in found if isinstance(reply, Exception)]
        return [key for key, reply in found if not isinstance(reply, Exception)], unreadable


async def _reconnecting(session: Callable[[Callable[[], None]], Any], lose: Callable[[TaskQueueError], None]) -> None:
    """Run sessions for ever, with a growing pause after each that failed at once."""
    failures = 0

    def connected() -> None:
        nonlocal failures
        failures = 0

    while True:
        try:
            await session(connected)
        except (TaskQueueError, TimeoutError, RedisError, OSError) as error:
            known = error if isinstance(error, TaskQueueError) else RedisUnavailable(f"cannot watch queues: {error!r}")
            lose(known)
        failures += 1
        await asyncio.sleep(min(1.0, 0.05 * 2 ** min(failures, 10)))


async def _see(connection: AbstractConnection) -> None:
    """See whether Redis lives; a user who may not even ask has his answer as well."""
    with contextlib.suppress(NoPermissionError):
        await _ask(connection, "PING")


async def _ask(connection: AbstractConnection, *words: str) -> Any:
    async with asyncio.timeout(BLOCK_SECONDS):
        with cancellable():
            await connection.send_command(*words, check_health=False)
            return await connection.read_response(timeout=math.inf)


def _pause(streams: int) -> float:
    """Answer the time that a new round waits after a change, seconds.

    A round costs Redis and us some microseconds a stream (measured: 1 and 1); so this keeps either below half busy
    with it, however often queues wake. And the reading of a queue that woke reaches Redis before the next round.
    """
    return min(0.1, 0.000_002 * streams)


def _id_order(entry_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)
