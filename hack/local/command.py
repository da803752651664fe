"""How every developers' command ends: in order, whatever ends it, with an exit code that says so.

Ctrl-C, SIGTERM and the end of its terminal (SIGHUP) come to the same, and so does whoever reads its output going away.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from ark_process.exceptions import leaves

INTERRUPTED = 130
BROKEN_PIPE = 141
"""What a shell shows for a program that SIGPIPE ended."""


def run(main: Callable[[], int]) -> NoReturn:
    """Run a command and end the process.

    Args:
        main: answers the exit code; what it has started ends when an exception leaves it.
    """
    end_by_interrupt()
    try:
        code = main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BaseException as error:
        if not all(isinstance(part, BrokenPipeError) for part in leaves(error)):
            raise
        code = BROKEN_PIPE
        mute()
    sys.exit(code)


def end_by_interrupt() -> None:
    """Have this program end by SIGTERM and SIGHUP as it does by Ctrl-C, what it has started included.

    Also in the background, where a shell has SIGINT ignored, and with it whatever SIGTERM would make of itself.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.signal(signal.SIGHUP, _hang_up)


def _hang_up(*_: object) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a closing terminal may send it twice
    mute()
    signal.raise_signal(signal.SIGINT)


def mute() -> None:
    """Print nothing any more: nobody reads it, and the next word would break off what still has to be put in order."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
