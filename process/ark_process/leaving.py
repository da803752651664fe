"""Leaving a Service: a program that is asked to stop says that it is not ready, and serves on for a moment.

Kubernetes sends a Pod SIGTERM and takes it out of its Services at the same time; kube-proxy learns of it later
(https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination).
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress


class Readiness:
    """Whether somebody should connect, and whether Kubernetes has been told so.

    Args:
        lacks: answers why the program is not ready; None where it is.
        name: the program, for people.
    """

    def __init__(self, lacks: Callable[[], str | None], name: str) -> None:
        self._lacks = lacks
        self._name = name
        self._leaving = False
        self._was_told = False

    def lacks(self) -> str | None:
        """Return why the program is not ready; None where it is."""
        return f"the {self._name} is stopping" if self._leaving else self._lacks()

    def told(self) -> str | None:
        """Return the same, for a probe."""
        reason = self.lacks()
        self._was_told = self._was_told or reason is None
        return reason

    def leave(self) -> bool:
        """Be not ready from now on; return whether a probe was ever told otherwise, so that a Service may lead here."""
        self._leaving = True
        return self._was_told


class Departure:
    """Listens for signals, in the running loop: SIGTERM asks to leave, a second one, or Ctrl-C, to stop at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        """Set when the program should stop."""
        self._at_once = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._terminate)
        loop.add_signal_handler(signal.SIGINT, self._interrupt)

    async def drain(self, seconds: float) -> None:
        """Wait so long, or until the program is to stop at once."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._at_once.wait()

    def _terminate(self) -> None:
        (self._at_once if self.asked.is_set() else self.asked).set()

    def _interrupt(self) -> None:
        self.asked.set()
        self._at_once.set()
