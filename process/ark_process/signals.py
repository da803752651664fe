"""Signals before a program has its own handlers: from its first line on, SIGTERM and Ctrl-C end it.

As PID 1 of a container a program is sent no signal that it has no handler for, so a Pod that is deleted while its
imports run would not notice, take tasks, and be killed at the end of its grace period. Nothing but this module and the
standard library's `signal` may be imported before `end_at_once` is called.
"""

from __future__ import annotations

import os
import signal

_INTERRUPTED = 130
"""Exit code of a program that Ctrl-C ended (a shell's convention)."""


def end_at_once() -> None:
    """End the process on SIGTERM, SIGHUP and SIGINT, until it sets handlers of its own."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, _: object) -> None:
    # Nothing has begun yet that would have to be put in order; imports must not be able to swallow this.
    os._exit(_INTERRUPTED if number == signal.SIGINT else 0)
