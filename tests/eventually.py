"""Wait for what must become true, with a generous deadline and no guess at how long it takes."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

DEADLINE_SECONDS = 30.0


async def eventually(
    holds: Callable[[], bool | Awaitable[bool]], what: str, seconds: float = DEADLINE_SECONDS, every: float = 0.01
) -> None:
    """Return as soon as a condition holds; fail the test when it does not within the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        result = holds()
        if inspect.isawaitable(result):
            result = await result
        if result:
            return
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        await asyncio.sleep(every)
