"""The watch of a standalone Redis or of Sentinels' primary: one blocking XREAD."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoPermissionError, ResponseError

from ark_scaler.watch.connection import BLOCK_SECONDS, ask, see
from ark_scaler.watch.protocol import Watcher
from ark_scaler.watch.streams import Streams, word
from ark_taskqueue import Priority, QueueKeys, RedisUnavailable, TaskQueueError
from ark_taskqueue.redis.cancellation import cancellable
from ark_taskqueue.redis.translation import from_response, translated

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


@dataclass(slots=True)
class Rights:
    """What the Redis user may do, as far as is known."""

    unblock: bool = True
    watch: bool = True


class BlockingWatch:
    """Watches queues' streams of some priorities by one XREAD.

    Args:
        client: for the blocked connection.
        commands: for what interrupts it.
        watcher: is told what the watch sees.
        leads: whether the watcher is told of the contact with Redis, and to poll where nothing can be watched: one of
            the watches of a Redis does so, for all.
        priorities: whose streams are watched.
        rights: of the Redis user; shared by all watches.
        block_seconds: how long one XREAD blocks.
    """

    def __init__(
        self,
        client: Redis,
        commands: Redis,
        watcher: Watcher,
        priorities: Sequence[Priority],
        rights: Rights,
        block_seconds: float,
        *,
        leads: bool,
    ) -> None:
        self._client = client
        self._commands = commands
        self._watcher = watcher
        self._leads = leads
        self._streams = Streams(priorities)
        self._block_seconds = block_seconds
        self._changed = asyncio.Event()
        self._round = 0
        self._blocked = False
        self._rights = rights
        self._refused_rounds = 0
        self._log = structlog.get_logger(component="watch")

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, queue: QueueKeys, after: Mapping[Priority, str]) -> None:
        """Watch a queue's streams for entries after their ids."""
        if self._streams.add(queue, after):
            self._changed.set()

    def discard(self, queue: QueueKeys) -> None:
        """Stop watching a queue. What a round that is under way still finds is passed over."""
        self._streams.discard(queue)

    def has(self, queue: QueueKeys) -> bool:
        """See `Watch.has`."""
        return self._streams.get(queue) is not None

    def covers(self, queue: QueueKeys) -> bool:
        """See `Watch.covers`."""
        watched = self._streams.get(queue)
        return self._blocked and watched is not None and watched.round == self._round

    def _contact(self) -> None:
        if self._leads:
            self._watcher.contact()

    def clear(self) -> None:
        """Watch nothing."""
        self._streams.clear()

    async def session(self, connected: Callable[[], None]) -> None:
        """Watch over one connection until it breaks."""
        with translated("watch queues"):
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
        self._contact()
        command = b""
        while True:
            if not self._rights.watch:
                await self._poll_instead(connection, connected)
                continue
            if not len(self._streams):
                await self._wait_for_streams(connection)
            if self._changed.is_set() or not command:
                command = self._command()
            changes = await self._blocked_round(connection, command, client_id)
            connected()
            self._contact()
            if self._refused_rounds >= _REFUSED_ROUNDS:
                await asyncio.sleep(_REFUSED_SECONDS)
            if changes:
                command = b""
                await asyncio.sleep(_pause(self._streams.count))

    async def _client_id(self, connection: AbstractConnection) -> int | None:
        """Return what CLIENT UNBLOCK needs; None where the user may not ask, or the server does not answer it."""
        try:
            client_id: int = await ask(connection, "CLIENT", "ID")
        except ResponseError as error:
            if isinstance(from_response(error, "ask for the connection's id"), RedisUnavailable):
                raise
            self._rights.unblock = False
            return None
        return client_id

    async def _poll_instead(self, connection: AbstractConnection, connected: Callable[[], None]) -> None:
        """Where XREAD is not permitted: have the queues read by themselves, as often as a Cluster's are asked."""
        await see(connection)
        connected()
        self._contact()
        queues = self._streams.pop_all()
        if self._leads:
            self._watcher.unsure(queues)
        await asyncio.sleep(_POLL_SECONDS)

    async def _wait_for_streams(self, connection: AbstractConnection) -> None:
        """Nothing is watched: only see that Redis lives."""
        while not len(self._streams):
            try:
                async with asyncio.timeout(BLOCK_SECONDS):
                    self._changed.clear()
                    await self._changed.wait()
            except TimeoutError:
                await see(connection)
                self._contact()
        self._changed.set()

    def _command(self) -> bytes:
        """Encode the XREAD of all streams that are watched now, and count them as part of a new round."""
        self._changed.clear()
        self._round += 1
        keys: list[bytes] = []
        ids: list[bytes] = []
        for watched in self._streams.all():
            watched.round = self._round
            keys.append(watched.key_words)
            ids.append(watched.after_words)
        block = self._block_seconds if self._rights.unblock else _BLOCK_SECONDS_UNINTERRUPTED
        words = [b"XREAD", b"COUNT", b"1", b"BLOCK", b"%d" % int(block * 1000), b"STREAMS"]
        # Joined from words that were encoded when the stream was added: this runs at each wake-up.
        return b"".join([b"*%d\r\n" % (len(words) + 2 * self._streams.count), *map(word, words), *keys, *ids])

    async def _blocked_round(self, connection: AbstractConnection, command: bytes, client_id: int | None) -> bool:
        """Send one XREAD and tell of the streams with new entries; return whether the set of streams changes.

        Ends early when it is to change.
        """
        with cancellable():
            await connection.send_packed_command(command, check_health=False)
        self._blocked = True
        interrupting = asyncio.create_task(self._interrupt_on_change(client_id))
        try:
            async with asyncio.timeout(self._block_seconds + _ANSWER_SECONDS):
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
        if isinstance(error, NoPermissionError) and self._refused_rounds >= _REFUSED_ROUNDS and self._rights.watch:
            # One key that may not be read is refused by its own reading; what is refused again is the command.
            self._rights.watch = False
            self._log.warning(
                "this Redis user may not watch queues, polling them instead: wake-ups are up to 1 s late",
                error=str(error),
                remedy="permit XREAD, see docs/reference/redis-acl.md",
            )
        self._watcher.unsure(self._streams.pop_all())

    async def _interrupt_on_change(self, client_id: int | None) -> None:
        await self._changed.wait()
        if client_id is None or not self._rights.unblock:
            return
        await asyncio.sleep(_pause(self._streams.count))
        for _ in range(_UNBLOCK_TRIES):
            # 0 means that the XREAD has not arrived yet, or that it was answered just now.
            try:
                with translated("unblock the watch"):
                    if await self._commands.execute_command("CLIENT", "UNBLOCK", client_id):
                        return
            except TaskQueueError as error:
                self._rights.unblock = isinstance(error, RedisUnavailable)  # else not permitted, or not there
                return
            await asyncio.sleep(_UNBLOCK_PAUSE_SECONDS)


def _pause(streams: int) -> float:
    """Return the time that a new round waits after a change, seconds.

    A round costs Redis some 1.5 us a stream, and us 1 (`make bench NAME=scale`); so up to 50,000 streams either is busy
    with it for less than half of the time, however often queues wake. And the reading of a queue that woke reaches
    Redis before the next round.
    """
    return min(0.1, 0.000_002 * streams)
