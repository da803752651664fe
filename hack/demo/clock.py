"""The demo's time: trace seconds, which pass faster than real ones."""

from __future__ import annotations

import asyncio
import time


class DemoClock:
    """Starts at zero when it is made.

    Args:
        speed: trace seconds in a real second.
    """

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self._began = time.monotonic()

    def now(self) -> float:
        """Trace seconds since the start."""
        return (time.monotonic() - self._began) * self.speed

    def restart(self) -> None:
        """Start at zero again."""
        self._began = time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep for trace seconds."""
        await asyncio.sleep(max(0.0, seconds) / self.speed)

    async def sleep_until(self, moment: float) -> None:
        """Sleep until a trace second; returns at once when it has passed."""
        if (ahead := moment - self.now()) > 0:
            await self.sleep(ahead)
