"""Programs under test that are to be interrupted."""

from __future__ import annotations

import signal


def heed_interrupts() -> None:
    """Let a child process take SIGINT for what it is, as ``preexec_fn``.

    A shell has its background jobs ignore SIGINT, and their children inherit that: with a test run in the background,
    no program under test could be interrupted.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
