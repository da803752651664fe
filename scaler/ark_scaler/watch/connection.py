"""A watch's connection: how it is asked, and made anew."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoPermissionError, RedisError

from ark_process.backoff import Backoff
from ark_taskqueue import RedisUnavailable, TaskQueueError
from ark_taskqueue.redis.cancellation import cancellable

_BACKOFF = Backoff(first=0.1, longest=1.0)
BLOCK_SECONDS = 2.0
"""How long one XREAD blocks: so seldom is an idle Redis asked, and so soon is a dead connection noticed."""


async def reconnecting(session: Callable[[Callable[[], None]], Any], lose: Callable[[TaskQueueError], None]) -> None:
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
        await asyncio.sleep(_BACKOFF.pause(failures))


async def see(connection: AbstractConnection) -> None:
    """See whether Redis lives; a user who may not even ask has his answer as well."""
    with contextlib.suppress(NoPermissionError):
        await ask(connection, "PING")


async def ask(connection: AbstractConnection, *words: str) -> Any:
    """Send a command over a connection, and return the reply."""
    async with asyncio.timeout(BLOCK_SECONDS):
        with cancellable():
            await connection.send_command(*words, check_health=False)
            return await connection.read_response(timeout=math.inf)
