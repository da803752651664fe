"""A demo as a program: ends in order on SIGTERM as on Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine

from hack.local import command


def run(play: Callable[[], Coroutine[None, None, int]]) -> int:
    """Play a demo and return its exit code; 130 when it was stopped.

    Args:
        play: a coroutine function that answers the exit code; cancelled when the demo is stopped.
    """

    async def played() -> int:
        playing = asyncio.current_task()
        assert playing is not None
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, playing.cancel)
        return await play()

    try:
        return asyncio.run(played())
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("demo: stopped", file=sys.stderr)
        return command.INTERRUPTED
